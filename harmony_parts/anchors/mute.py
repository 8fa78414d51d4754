"""Mute sound."""

from __future__ import annotations

from typing import cast

import attrs
import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Scene
from harmony_parts.codecs.protocol import AudioCodec


@attrs.frozen
class MuteAudio:
    """The audio codec's latents of silence (z_a_null of SyncCFG, arXiv:2511.21579): what it makes
    of zeros, which isn't zero latents.
    """

    stream = "audio"
    from_estimate = False

    def latents(self, scene: Scene) -> Tensor:
        """[B, T, C], the same for every sample."""
        here, codec = scene.latents["audio"], cast(AudioCodec, scene.codecs["audio"])
        silence = torch.zeros(1, codec.samples(here.shape[1]), device=here.device)
        return codec.encode(silence).to(here).expand(len(here), -1, -1)

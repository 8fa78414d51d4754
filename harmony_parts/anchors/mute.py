"""The anchor for audio: silence."""

from __future__ import annotations

from typing import cast

import attrs
import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Scene
from harmony_parts.codecs.protocol import AudioCodec


@attrs.frozen
class MuteAudio:
    """The audio codec's latents of silence (z_a_null of SyncCFG, arXiv:2511.21579).

    Silence is a waveform of zeros; its latents aren't zeros.
    """

    stream = "audio"
    from_estimate = False

    def latents(self, scene: Scene) -> Tensor:
        """Latents [B, T, C], equal for all samples."""
        current, codec = scene.latents["audio"], cast(AudioCodec, scene.codecs["audio"])
        shape = (1, codec.sound_channels, codec.samples(current.shape[1]))
        silence = torch.zeros(shape, device=current.device)
        return codec.encode(silence).to(current).expand(len(current), -1, -1)

"""A video that stands still."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Scene
from harmony_parts.av import Condition
from harmony_parts.codecs.protocol import VideoCodec
from harmony_parts.errors import PartContractError
from harmony_parts.plugin import knob


@attrs.frozen
class StaticVideo:
    """The video codec's latents of one repeated picture (z_v_null of SyncCFG, arXiv:2511.21579).

    The picture is, for each sample, its reference image; without one, the first frame of the current clean estimate (the paper is silent
    here). It is the picture that is repeated, never a latent: the first latent of a causal codec holds one frame, the others several.
    Raises PartContractError where the condition of the name `image` isn't made of this stream's latents.
    """

    image: str = knob("image", help="the name of the condition that holds the reference image as latents")

    stream = "video"
    from_estimate = True

    def latents(self, scene: Scene) -> Tensor:
        """[B, T, H, W, C]."""
        codec, known = scene.codecs["video"], scene.conditions.get(self.image)
        assert isinstance(codec, VideoCodec)
        if known is None or not known.mask.any():
            return self._still(scene, codec, self._estimate(scene))
        if "reference" not in scene.memory:  # the same at every step
            scene.memory["reference"] = self._still(scene, codec, self._reference(known))
        still: Tensor = scene.memory["reference"]
        has = known.mask.any(dim=1)
        return still if has.all() else torch.where(has[:, None, None, None, None], still, self._still(scene, codec, self._estimate(scene)))

    def _still(self, scene: Scene, codec: VideoCodec, latents: Tensor) -> Tensor:
        """The latents of the first picture of `latents`, repeated."""
        here = scene.latents["video"]
        # Of the latents that one frame takes: in a causal codec all that the first frame depends on, and far cheaper than the clip.
        picture = codec.decode(latents[:, : codec.latents(1)])[:, :1]
        return codec.encode(picture.expand(-1, codec.frames(here.shape[1]), -1, -1, -1)).to(here)

    def _reference(self, known: Condition) -> Tensor:
        if known.tokens.ndim != 5:
            raise PartContractError(
                f"StaticVideo reads latents [B, T, H, W, C] from the condition {self.image!r}, which holds {list(known.tokens.shape)}: "
                f"set StaticVideo(image=...) to the name of the condition with the reference image's latents"
            )
        return known.tokens

    def _estimate(self, scene: Scene) -> Tensor:
        if scene.estimate is None or scene.estimate.video is None:
            raise PartContractError(
                'StaticVideo needs the clean estimate of the video: give its pass needs=("joint",), and let "joint" read the video'
            )
        return scene.estimate.video

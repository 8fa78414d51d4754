"""A video that stands still."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from harmony_parts.anchors.protocol import Scene
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
        here, codec = scene.latents["video"], scene.codecs["video"]
        assert isinstance(codec, VideoCodec)
        picture = self._picture(scene, codec)
        return codec.encode(picture.expand(-1, codec.frames(here.shape[1]), -1, -1, -1)).to(here)

    def _picture(self, scene: Scene, codec: VideoCodec) -> Tensor:
        """uint8 [B, 1, height, width, 3]."""

        def shown(latents: Tensor) -> Tensor:
            # Of the latents that one frame takes: in a causal codec all that the first frame depends on, and far cheaper than the clip.
            return codec.decode(latents[:, : codec.latents(1)])[:, :1]

        known = scene.conditions.get(self.image)
        if known is None or not known.mask.any():
            return shown(self._estimate(scene))
        if known.tokens.ndim != 5:
            raise PartContractError(
                f"StaticVideo reads latents [B, T, H, W, C] from the condition {self.image!r}, which holds {list(known.tokens.shape)}: "
                f"set StaticVideo(image=...) to the name of the condition with the reference image's latents"
            )
        has = known.mask.any(dim=1)
        if has.all():
            return shown(known.tokens)
        return torch.where(has[:, None, None, None, None], shown(known.tokens), shown(self._estimate(scene)))

    def _estimate(self, scene: Scene) -> Tensor:
        if scene.estimate is None or scene.estimate.video is None:
            raise PartContractError(
                'StaticVideo needs the clean estimate of the video: give its pass needs=("joint",), and let "joint" read the video'
            )
        return scene.estimate.video

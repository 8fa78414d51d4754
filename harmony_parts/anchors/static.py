"""A video that stands still."""

from __future__ import annotations

from typing import Literal, cast

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

    The picture is, for each sample, its reference image; without one, the first or the mean frame
    of the current clean estimate (the paper is silent here). It is the picture that is repeated,
    decoded and encoded again, since a latent that holds several frames, or the first of a causal
    codec, means nothing in another place; where every latent is a frame, the latent can be repeated
    as it is. Raises PartContractError where the condition of the name `image` isn't made of this
    stream's latents, and where latents are to be repeated that aren't frames.
    """

    image: str = knob(
        "image", help="the name of the condition that holds the reference image as latents"
    )
    frame: Literal["first", "mean"] = knob(
        "first",
        help=(
            "which frame of the estimate: the first, which costs least, or the mean of all, for"
            " which the whole clip is decoded at each step"
        ),
        source="arXiv:2511.21579 leaves it open",
        validator=attrs.validators.in_(("first", "mean")),
    )
    repeat: Literal["picture", "latent"] = knob(
        "picture",
        help=(
            "what is repeated: the picture, decoded and encoded at each step, or, for a codec of"
            " one frame to a latent, the latent: no codec is run"
        ),
        validator=attrs.validators.in_(("picture", "latent")),
    )

    stream = "video"
    from_estimate = True

    def latents(self, scene: Scene) -> Tensor:
        """[B, T, H, W, C]."""
        codec, known = cast(VideoCodec, scene.codecs["video"]), scene.conditions.get(self.image)
        if known is None or not known.mask.any():
            return self._still(scene, codec, self._estimate(scene), self.frame)
        if "reference" not in scene.memory:  # the same at every step
            scene.memory["reference"] = self._still(scene, codec, self._reference(known), "first")
        still: Tensor = scene.memory["reference"]
        has = known.mask.any(dim=1)
        if has.all():
            return still
        return torch.where(
            has[:, None, None, None, None],
            still,
            self._still(scene, codec, self._estimate(scene), self.frame),
        )

    def _still(self, scene: Scene, codec: VideoCodec, latents: Tensor, frame: str) -> Tensor:
        """The latents of one picture of `latents`, repeated."""
        here = scene.latents["video"]
        if frame == "first":
            # the latents that one frame takes: in a causal codec all that the first frame depends
            # on, and far cheaper than the clip
            latents = latents[:, : codec.latents(1)]
        if self.repeat == "latent":
            if codec.frames(2) != 2:
                raise PartContractError(
                    f"{self!r}: two latents of this codec hold {codec.frames(2)} frames, so none"
                    " can be repeated as one"
                )
            return latents.mean(1, keepdim=True).to(here).expand(-1, here.shape[1], -1, -1, -1)
        frames = codec.decode(latents)
        picture = (
            frames[:, :1]
            if frame == "first"
            else frames.float().mean(1, keepdim=True).round().to(frames.dtype)
        )
        return codec.encode(picture.expand(-1, codec.frames(here.shape[1]), -1, -1, -1)).to(here)

    def _reference(self, known: Condition) -> Tensor:
        if known.tokens.ndim != 5:
            raise PartContractError(
                f"StaticVideo reads latents [B, T, H, W, C] from the condition {self.image!r},"
                f" which holds {list(known.tokens.shape)}: set StaticVideo(image=...) to the name"
                " of the condition with the reference image's latents"
            )
        return known.tokens

    def _estimate(self, scene: Scene) -> Tensor:
        if scene.estimate is None or scene.estimate.video is None:
            raise PartContractError(
                'StaticVideo needs the clean estimate of the video: give its pass needs=("joint",),'
                ' and let "joint" read the video'
            )
        return scene.estimate.video

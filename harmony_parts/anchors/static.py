"""The anchor for video: a static video."""

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

    The picture of each sample is its reference image or, without one, the first or the mean frame
    of the current clean estimate (the paper doesn't specify it). The picture is decoded, repeated
    and encoded again: a latent of several frames, or the first latent of a causal codec, has no
    meaning at another position. If every latent is one frame, the latent itself can be repeated.
    Raises PartContractError if the condition named `image` doesn't hold video latents, or if
    latents that aren't single frames are to be repeated.
    """

    image: str = knob(
        "image", help="name of the condition that holds the reference image as latents"
    )
    frame: Literal["first", "mean"] = knob(
        "first",
        help=(
            "frame of the estimate: the first, which is cheapest, or the mean of all, for which the"
            " whole clip is decoded at each step"
        ),
        source="arXiv:2511.21579 leaves it open",
        validator=attrs.validators.in_(("first", "mean")),
    )
    repeat: Literal["picture", "latent"] = knob(
        "picture",
        help=(
            "what to repeat: the picture, which is decoded and encoded at each step, or the latent,"
            " without running the codec, which requires a codec with one frame per latent"
        ),
        validator=attrs.validators.in_(("picture", "latent")),
    )

    stream = "video"
    from_estimate = True

    def latents(self, scene: Scene) -> Tensor:
        """Latents [B, T, H, W, C]."""
        codec = cast(VideoCodec, scene.codecs["video"])
        if "image" not in scene.memory:  # constant over the steps
            scene.memory["image"] = self._of_image(scene, codec)
        reference, has = scene.memory["image"]
        if reference is not None and has is None:
            return cast(Tensor, reference)
        moving = self._of_estimate(scene, codec)
        return moving if reference is None else torch.where(has, reference, moving)

    def _of_image(self, scene: Scene, codec: VideoCodec) -> tuple[Tensor | None, Tensor | None]:
        """The latents made from reference images, and which samples have one; `None` if all do.

        `None` for both if no sample has one.
        """
        image = scene.conditions.get(self.image)
        if image is None or not image.mask.any():
            return None, None
        reference = self._repeated(scene, codec, self._reference(image), "first")
        has = image.mask.any(dim=1)
        return reference, None if has.all() else has[:, None, None, None, None]

    def _of_estimate(self, scene: Scene, codec: VideoCodec) -> Tensor:
        """From the estimate or, in a video-driven task, from the given video: made once."""
        estimate, memory = self._estimate(scene), scene.memory
        if estimate is not scene.latents.video:
            return self._repeated(scene, codec, estimate, self.frame)
        if memory.get("given") is not estimate:
            memory["static"] = self._repeated(scene, codec, estimate, self.frame)
            memory["given"] = estimate
        static: Tensor = memory["static"]
        return static

    def _repeated(self, scene: Scene, codec: VideoCodec, latents: Tensor, frame: str) -> Tensor:
        """One frame of `latents`, repeated over the length of the video."""
        current = scene.latents["video"]
        if frame == "first":
            # decode only the latents of one frame: in a causal codec the first frame depends on no
            # others, and this is far cheaper than decoding the clip
            latents = latents[:, : codec.latents(1)]
        if self.repeat == "latent":
            if codec.frames(2) != 2:
                raise PartContractError(
                    f"{self!r}: two latents of this codec hold {codec.frames(2)} frames, so a"
                    ' latent can\'t be repeated as a frame: use repeat="picture"'
                )
            latent = latents.mean(1, keepdim=True).to(current)
            return latent.expand(-1, current.shape[1], -1, -1, -1)
        frames = codec.decode(latents)
        picture = (
            frames[:, :1]
            if frame == "first"
            else frames.float().mean(1, keepdim=True).round().to(frames.dtype)
        )
        static = picture.expand(-1, codec.frames(current.shape[1]), -1, -1, -1)
        return codec.encode(static).to(current)

    def _reference(self, image: Condition) -> Tensor:
        if image.tokens.ndim != 5:
            raise PartContractError(
                f"StaticVideo reads latents [B, T, H, W, C] from the condition {self.image!r},"
                f" which holds {list(image.tokens.shape)}: set StaticVideo(image=...) to the name"
                " of the condition with the reference image's latents"
            )
        return image.tokens

    def _estimate(self, scene: Scene) -> Tensor:
        if scene.estimate is None or scene.estimate.video is None:
            raise PartContractError(
                "StaticVideo needs the clean estimate of the video: its pass must have"
                ' needs=("joint",), and the pass "joint" must read the video'
            )
        return scene.estimate.video

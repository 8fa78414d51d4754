"""Contract checks of anchors."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch

from harmony_parts.anchors.protocol import Anchor, Scene
from harmony_parts.av import AV, Condition, Conditions
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.testing.contracts.require import check_value, generator, require


def check_anchor(
    anchor: Anchor,
    codecs: AV[VideoCodec | AudioCodec],
    *,
    video: int = 3,
    audio: int = 20,
    conditions: Mapping[str, Condition] | None = None,
) -> None:
    """Latents of the right shape, finite, deterministic, of each sample by itself, for clips of
    `video` and `audio` latents; the scene is left as it is.

    `conditions` (4 samples) are what the anchor may look at, if it does.
    """
    check_value(anchor)
    require(
        anchor.stream in tuple(codecs),
        anchor,
        f"stand for a stream that the codecs have; it says {anchor.stream!r}",
    )
    told: Conditions = conditions or {}
    scene = _scene(codecs, video, audio, told, anchor.from_estimate, seed=0)
    kept = copy.deepcopy((scene.latents, scene.estimate, told))
    here, latents = scene.latents[anchor.stream], anchor.latents(scene)
    unchanged = all(
        torch.equal(x, y)
        for x, y in zip(_tensors(scene.latents, scene.estimate, told), _tensors(*kept), strict=True)
    )
    require(unchanged, anchor, "leave the scene as it is: one of its tensors was changed in place")
    require(
        latents.shape == here.shape,
        anchor,
        f"make latents {list(here.shape)}; it made {list(latents.shape)}",
    )
    require(
        latents.dtype == here.dtype and torch.isfinite(latents).all(),
        anchor,
        f"make finite latents of {here.dtype}",
    )
    require(
        torch.equal(latents, anchor.latents(scene)),
        anchor,
        "make the same latents of the same scene",
    )
    rows = torch.tensor([2, 0])
    some = Scene(
        codecs,
        scene.latents.map(lambda x: x[rows]),
        {name: condition.rows(rows) for name, condition in told.items()},
        None if scene.estimate is None else scene.estimate.map(lambda x: x[rows]),
    )
    # Codecs may sum in another order for another batch size.
    near = torch.allclose(anchor.latents(some), latents[rows], atol=1e-4)
    require(near, anchor, "make each sample's latents from that sample alone")
    if not anchor.from_estimate:
        other = _scene(codecs, video, audio, told, False, seed=1)
        require(
            torch.equal(anchor.latents(other), latents),
            anchor,
            "not depend on the current latents, or say from_estimate = True",
        )


def _tensors(
    latents: AV[torch.Tensor], estimate: AV[torch.Tensor] | None, told: Conditions
) -> list[torch.Tensor]:
    streams = [av[stream] for av in (latents, estimate or AV()) for stream in av]
    return streams + [condition.tokens for condition in told.values()]


def _scene(
    codecs: AV[VideoCodec | AudioCodec],
    video: int,
    audio: int,
    told: Conditions,
    estimate: bool,
    seed: int,
) -> Scene:
    random = generator(seed)

    def latents(codec: VideoCodec | AudioCodec) -> torch.Tensor:
        grid = grid_of(codec)
        return torch.randn(4, video if grid else audio, *grid, codec.channels, generator=random)

    return Scene(codecs, codecs.map(latents), told, codecs.map(latents) if estimate else None)

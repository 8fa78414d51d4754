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
    """Finite and deterministic latents of the right shape, made for each sample independently.

    Clips have `video` and `audio` latents. The scene must not be changed. `conditions` (4 samples):
    those of the scene, for anchors that use them.
    """
    check_value(anchor)
    require(
        anchor.stream in tuple(codecs),
        anchor,
        f"replace a stream that has a codec; its stream is {anchor.stream!r}",
    )
    conditions = conditions or {}
    scene = _scene(codecs, video, audio, conditions, anchor.from_estimate, seed=0)
    latents = _check_latents(anchor, scene)
    _check_samples(anchor, scene, latents)
    if not anchor.from_estimate:
        other = _scene(codecs, video, audio, conditions, False, seed=1)
        require(
            torch.equal(anchor.latents(other), latents),
            anchor,
            "not depend on the current latents, or declare from_estimate = True",
        )


def _check_latents(anchor: Anchor, scene: Scene) -> torch.Tensor:
    """The anchor's latents, whose form is checked, as is that the scene isn't changed."""
    inputs = (scene.latents, scene.estimate, scene.conditions)
    copies = copy.deepcopy(inputs)
    current, latents = scene.latents[anchor.stream], anchor.latents(scene)
    unchanged = all(
        torch.equal(x, y) for x, y in zip(_tensors(*inputs), _tensors(*copies), strict=True)
    )
    require(unchanged, anchor, "not change the scene; one of its tensors was changed in place")
    is_tensor = isinstance(latents, torch.Tensor)
    require(is_tensor, anchor, f"return a tensor of latents, not a {type(latents).__name__}")
    require(
        latents.shape == current.shape,
        anchor,
        f"return latents {list(current.shape)}; it returned {list(latents.shape)}",
    )
    valid = latents.dtype == current.dtype and torch.isfinite(latents).all()
    require(valid, anchor, f"return finite latents of {current.dtype}")
    again = torch.equal(latents, anchor.latents(scene))
    require(again, anchor, "return the same latents for the same scene")
    return latents


def _check_samples(anchor: Anchor, scene: Scene, latents: torch.Tensor) -> None:
    """Each sample's latents depend only on that sample."""
    rows = torch.tensor([2, 0])
    some = Scene(
        scene.codecs,
        scene.latents.map(lambda x: x[rows]),
        {name: condition.rows(rows) for name, condition in scene.conditions.items()},
        None if scene.estimate is None else scene.estimate.map(lambda x: x[rows]),
    )
    # codecs may sum in another order for another batch size
    near = torch.allclose(anchor.latents(some), latents[rows], atol=1e-4)
    require(near, anchor, "make the latents of each sample only from that sample")


def _tensors(
    latents: AV[torch.Tensor], estimate: AV[torch.Tensor] | None, conditions: Conditions
) -> list[torch.Tensor]:
    streams = [av[stream] for av in (latents, estimate or AV()) for stream in av]
    return streams + [condition.tokens for condition in conditions.values()]


def _scene(
    codecs: AV[VideoCodec | AudioCodec],
    video: int,
    audio: int,
    conditions: Conditions,
    estimate: bool,
    seed: int,
) -> Scene:
    random = generator(seed)

    def latents(codec: VideoCodec | AudioCodec) -> torch.Tensor:
        grid = grid_of(codec)
        return torch.randn(4, video if grid else audio, *grid, codec.channels, generator=random)

    return Scene(codecs, codecs.map(latents), conditions, codecs.map(latents) if estimate else None)

"""What is wrong with a request for guidance is told with its place, its cause and what to do."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harmony_parts.assemble import build, read_recipe
from harmony_parts.errors import AssemblyError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["sample.guidance.use=sync-cgf"], r"\$\.sample\.guidance.*did you mean 'sync-cfg'"),
        (["sample.guidance.use=cfg-rescaled"], r"\$\.sample\.guidance.*did you mean 'cfg-rescale'"),
        (["sample.solver.use=huen"], r"\$\.sample\.solver.*did you mean 'heun'"),
        (["sample.guidance.use=cfg", "sample.guidance.vidoe=3"], r"\$\.sample\.guidance\.vidoe.*did you mean 'video'"),
        (["sample.guidance.use=cfg", "sample.guidance.video=-1"], r"\$\.sample\.guidance\.video: .*at least 0, not -1"),
        (
            ["sample.guidance.use=sync-cfg", "sample.guidance.audio=inf"],
            r"\$\.sample\.guidance\.audio: .*finite number of at least 0, not inf",
        ),
        (["sample.guidance.use=modality", "sample.guidance.audio=nan"], r"\$\.sample\.guidance\.audio: .*not nan"),
        (["sample.guidance.use=window", "sample.guidance.low=0.9"], r"\$\.sample\.guidance.*low is 0.9 and high is 0.84"),
        (["sample.guidance.use=window", "sample.guidance.inner.use=cgf"], r"\$\.sample\.guidance\.inner.*did you mean 'cfg'"),
        (["sample.steps=0"], r"\$\.sample\.steps.*1"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_recipes(overrides: list[str], says: str) -> None:
    with pytest.raises(AssemblyError, match=says):
        read_recipe("demo", overrides)


def test_hints_that_the_model_lacks() -> None:
    """Before anything is trained or made."""
    recipe = read_recipe("demo", ["sample.guidance.use=skip-layer", "sample.guidance.layer=99", "denoiser.layers=1"])
    with pytest.raises(AssemblyError, match=r"\$\.sample\.guidance: the denoiser doesn't know the hint skip-99; it knows .*isolate"):
        build(recipe)


SCALED: list[Any] = [CFG, SyncCFG, Modality, SkipLayer]


@pytest.mark.parametrize("wrong", [-1, -0.001, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("stream", ["video", "audio"])
def test_scales(kind: Any, stream: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"{stream} must be a finite number of at least 0, not {wrong}"):
        kind(**{stream: wrong})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SkipLayer(layer=-1), "layer"),
        (lambda: Rescale(NoGuidance(), share=1.5), "share"),
        (lambda: Rescale(NoGuidance(), share=math.nan), "share"),
        (lambda: Window(NoGuidance(), 0.5, 0.5), "low is 0.5 and high is 0.5"),
        (lambda: Window(NoGuidance(), -0.1, 0.5), "0 <= low"),
        (lambda: Window(NoGuidance(), 0.1, 1.5), "high <= 1"),
        (lambda: Schedule(NoGuidance(), ()), "one or more"),
        (lambda: Schedule(NoGuidance(), (1, math.inf)), "finite"),
        (lambda: Schedule(NoGuidance(), (-1,)), "at least 0"),
    ],
)
def test_other_settings(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()

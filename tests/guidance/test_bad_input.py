"""What is wrong with a request for guidance is told with its place, its cause and what to do."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harmony_parts.assembly.build import build
from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import AssemblyError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.modality import Modality
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Pass, StepTimes, unsupported_hints
from harmony_parts.guidance.rescale import Rescale
from harmony_parts.guidance.schedule import Schedule
from harmony_parts.guidance.skip_layer import SkipLayer
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["sample.guidance.use=sync-cgf"], r"\$\.sample\.guidance.*did you mean 'sync-cfg'"),
        (["sample.guidance.use=cfg-rescaled"], r"\$\.sample\.guidance.*did you mean 'cfg-rescale'"),
        (["sample.solver.use=huen"], r"\$\.sample\.solver.*did you mean 'heun'"),
        (
            ["sample.guidance.use=cfg", "sample.guidance.vidoe=3"],
            r"\$\.sample\.guidance\.vidoe.*did you mean 'video'",
        ),
        (
            ["sample.guidance.use=cfg", "sample.guidance.video=-1"],
            r"\$\.sample\.guidance\.video: .*at least 0, not -1",
        ),
        (
            ["sample.guidance.use=sync-cfg", "sample.guidance.audio=inf"],
            r"\$\.sample\.guidance\.audio: .*finite number of at least 0, not inf",
        ),
        (
            ["sample.guidance.use=modality", "sample.guidance.audio=nan"],
            r"\$\.sample\.guidance\.audio: .*not nan",
        ),
        (
            ["sample.guidance.use=window", "sample.guidance.low=0.9"],
            r"\$\.sample\.guidance.*low is 0.9 and high is 0.84",
        ),
        (
            ["sample.guidance.use=window", "sample.guidance.inner.use=cgf"],
            r"\$\.sample\.guidance\.inner.*did you mean 'cfg'",
        ),
        (["sample.steps=0"], r"\$\.sample\.steps.*1"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_recipes(overrides: list[str], says: str) -> None:
    with pytest.raises(AssemblyError, match=says):
        read_recipe("demo", overrides)


def test_hints_that_the_model_lacks() -> None:
    """Before anything is trained or made."""
    recipe = read_recipe("demo", ["sample.guidance.use=skip-layer"])
    says = (
        r"\$\.sample\.guidance: .* hint skip-11; the denoiser supports isolate, skip-0 to skip-2:"
        r" set `layer` to one of these numbers.*layer=N"
    )
    with pytest.raises(AssemblyError, match=says):
        build(recipe, empty=("codecs", "encoders", "denoiser"))


def test_hints_that_are_asked_for_late() -> None:
    """A window that rests at most times is looked into all the same."""
    inside = [
        "sample.guidance.use=window",
        "sample.guidance.inner.use=skip-layer",
        "sample.guidance.low=0",
        "sample.guidance.high=0.3",
    ]
    with pytest.raises(AssemblyError, match="hint skip-11"):
        build(read_recipe("demo", inside), empty=("codecs", "encoders", "denoiser"))


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ([], "the hint skip-4; the denoiser supports none: set it"),
        (
            ["isolate", "skip-1", "skip-0"],
            "the hint skip-4; the denoiser supports isolate, skip-0, skip-1: set it",
        ),
        (
            [f"skip-{n}" for n in (0, 1, 2, 5)],
            "the hint skip-4; the denoiser supports skip-0, skip-1, skip-2, skip-5: set it",
        ),
        (
            ["at-3", "at-1", "at-2", "at-x", "4"],
            "the hint skip-4; the denoiser supports 4, at-1 to at-3, at-x: set it",
        ),
        (["skip-4", "blur"], ""),
    ],
    ids=str,
)
def test_what_is_said_of_hints(known: list[str], says: str) -> None:
    """Those of a whole range of numbers are shown as such; the pass's own remedy, or else the
    nearest, is told.
    """
    asked = Pass("a", StepTimes(1.0, 1.0), hints={"skip-4"}, remedy="set it")
    assert unsupported_hints(asked, known).startswith(says)
    assert bool(unsupported_hints(asked, known)) == bool(says)
    assert "(did you mean 'blur'?)" in unsupported_hints(
        Pass("a", StepTimes(1.0), hints={"blurr"}), ["blur", "skip-4"]
    )


def test_a_sum_whose_terms_were_forgotten() -> None:
    """No terms are no guidance; that must be said, and it is told how to say the other."""
    with pytest.raises(
        AssemblyError,
        match=r'\$\.sample\.guidance\.terms: missing: .*terms = \["cfg", "sync-cfg"\]',
    ):
        read_recipe("demo", ["sample.guidance.use=sum"])
    assert read_recipe(
        "demo", ["sample.guidance.use=sum", "sample.guidance.terms=[]"]
    ).sample.guidance == Sum(())
    told = read_recipe(
        "demo",
        ["sample.guidance.use=sum", 'sample.guidance.terms=["cfg", {use="sync-cfg", video=2}]'],
    )
    assert told.sample.guidance == Sum((CFG(), SyncCFG(video=2)))


SCALED: list[Any] = [CFG, SyncCFG, Modality, SkipLayer]


@pytest.mark.parametrize("wrong", [-1, -0.001, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("stream", ["video", "audio"])
def test_scales(kind: Any, stream: str, wrong: float) -> None:
    with pytest.raises(
        ValueError, match=rf"{stream} must be a finite number of at least 0, not {wrong}"
    ):
        kind(**{stream: wrong})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SkipLayer(layer=-1), "layer"),
        (lambda: Rescale(NoGuidance(), share=1.5), "share"),
        (lambda: Rescale(NoGuidance(), share=-0.1), "share"),
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

"""Errors about guidance name the place, the cause and the remedy."""

from __future__ import annotations

import math
from typing import Any

import pytest

from harmony_parts.anchors.static import StaticVideo
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
    ("overrides", "message"),
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
def test_errors_in_recipes_name_path_and_cause(overrides: list[str], message: str) -> None:
    with pytest.raises(AssemblyError, match=message):
        read_recipe("demo", overrides)


def test_unsupported_hints_are_refused_at_assembly() -> None:
    recipe = read_recipe("demo", ["sample.guidance.use=skip-layer"])
    message = (
        r"\$\.sample\.guidance: .* hint skip-11; the denoiser supports isolate, skip-0 to skip-2:"
        r" set `layer` to one of these numbers.*layer=N"
    )
    with pytest.raises(AssemblyError, match=message):
        build(recipe, empty=("codecs", "encoders", "denoiser"))


def test_hints_requested_only_at_late_times_are_found() -> None:
    """The window is inactive at most times."""
    inside = [
        "sample.guidance.use=window",
        "sample.guidance.inner.use=skip-layer",
        "sample.guidance.low=0",
        "sample.guidance.high=0.3",
    ]
    with pytest.raises(AssemblyError, match="hint skip-11"):
        build(read_recipe("demo", inside), empty=("codecs", "encoders", "denoiser"))


@pytest.mark.parametrize(
    ("supported", "message"),
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
def test_the_error_lists_supported_hints_and_remedy(supported: list[str], message: str) -> None:
    """Numbered hints are shown as a range; without a remedy, the nearest match is named."""
    requested = Pass("a", StepTimes(1.0, 1.0), hints={"skip-4"}, remedy="set it")
    assert unsupported_hints(requested, supported).startswith(message)
    assert bool(unsupported_hints(requested, supported)) == bool(message)
    assert "(did you mean 'blur'?)" in unsupported_hints(
        Pass("a", StepTimes(1.0), hints={"blurr"}), ["blur", "skip-4"]
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"words": "a still"}, r"write \{'caption': 'a still'\} instead of 'a still'"),
        ({"replace": {"video": "static"}}, r'as in \{"video": StaticVideo\(\)\}; \'static\' isn'),
        ({"replace": {"video": StaticVideo}}, "StaticVideo'> isn't an anchor"),
        ({"replace": "video"}, r'as in \{"video": StaticVideo\(\)\}, not \'video\''),
    ],
    ids=str,
)
def test_words_and_anchors_of_another_type_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Pass("a", StepTimes(1.0, 1.0), **fields)


def test_a_sum_without_terms_must_be_explicit() -> None:
    """The error shows how to write terms."""
    with pytest.raises(
        AssemblyError,
        match=r'\$\.sample\.guidance\.terms: missing: .*terms = \["cfg", "sync-cfg"\]',
    ):
        read_recipe("demo", ["sample.guidance.use=sum"])
    assert read_recipe(
        "demo", ["sample.guidance.use=sum", "sample.guidance.terms=[]"]
    ).sample.guidance == Sum(())
    recipe = read_recipe(
        "demo",
        ["sample.guidance.use=sum", 'sample.guidance.terms=["cfg", {use="sync-cfg", video=2}]'],
    )
    assert recipe.sample.guidance == Sum((CFG(), SyncCFG(video=2)))


SCALED: list[Any] = [CFG, SyncCFG, Modality, SkipLayer]


@pytest.mark.parametrize("wrong", [-1, -0.001, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", SCALED)
@pytest.mark.parametrize("stream", ["video", "audio"])
def test_scales_must_be_finite_and_not_negative(kind: Any, stream: str, wrong: float) -> None:
    with pytest.raises(
        ValueError, match=rf"{stream} must be a finite number of at least 0, not {wrong}"
    ):
        kind(**{stream: wrong})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SkipLayer(layer=-1), "layer"),
        (lambda: Rescale(NoGuidance(), share=1.5), "share"),
        (lambda: Rescale(NoGuidance(), share=-0.1), "share"),
        (lambda: Rescale(NoGuidance(), share=math.nan), "share"),
        (lambda: Window(NoGuidance(), 0.5, 0.5), "low is 0.5 and high is 0.5"),
        (lambda: Window(NoGuidance(), -0.1, 0.5), "0 <= low"),
        (lambda: Window(NoGuidance(), 0.1, 1.5), "high <= 1"),
        (lambda: Schedule(NoGuidance(), ()), "at least one number"),
        (lambda: Schedule(NoGuidance(), (1, math.inf)), "finite"),
        (lambda: Schedule(NoGuidance(), (-1,)), "at least 0"),
    ],
)
def test_other_settings_are_validated(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()

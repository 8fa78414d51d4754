"""Contract checks of guidance."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
    conditional,
)
from harmony_parts.sample.pass_graph import checked_passes, order
from harmony_parts.sample.passes import guided
from harmony_parts.testing.contracts.require import check_value, generator, require


def _steps(video: float | None, audio: float | None) -> tuple[StepTimes, ...]:
    """Three steps from these times towards data; 0 is a given stream, `None` an absent one."""
    return tuple(
        StepTimes(*(None if t is None else t * (1 - step / 3) for t in (video, audio)))
        for step in range(3)
    )


STEPS = {
    "joint": _steps(0.9, 0.9),
    "joint, video later": (StepTimes(0.95, 0.8), StepTimes(0.9, 0.6), StepTimes(0.6, 0.2)),
    "joint, audio later": (StepTimes(0.5, 0.9), StepTimes(0.3, 0.8), StepTimes(0.1, 0.5)),
    "late": _steps(0.05, 0.05),
    "audio-driven": _steps(0.5, 0.0),
    "video-driven": _steps(0.0, 0.5),
    "video only": _steps(0.5, None),
    "audio only": _steps(None, 0.5),
}
"""Task -> the times of its three steps."""
SHAPES = AV((3, 2, 2, 4), (5, 3))


def predictions(
    passes: list[Pass], random: torch.Generator, same: bool = False
) -> dict[str, AV[Tensor]]:
    """Random float32 predictions of 4 samples for each pass, in the form that the sampler gives.

    If `same`, all passes predict the same velocities.
    """
    latents = SHAPES.map(lambda shape: torch.randn(4, *shape, generator=random))
    common = SHAPES.map(lambda shape: torch.randn(4, *shape, generator=random))
    runs = order(passes, None)  # type: ignore[arg-type]
    answers = {LATENTS: latents.only(tuple(passes[0].times.present()))}
    for run in runs:
        velocity = (
            common if same else SHAPES.map(lambda shape: torch.randn(4, *shape, generator=random))
        ).only(run.read)
        answers.update(dict.fromkeys(run.names, velocity))
    return answers


def check_guidance(guidance: Guidance, hints: tuple[str, ...] = ()) -> None:
    """Check a guidance in every kind of task, over three steps each.

    - Its passes can run, and are the same if requested again.
    - It returns velocities of the generated streams.
    - It is pure and guides samples independently.
    - At the first step it returns the conditional prediction, to rounding, if all passes agree
      (unless it is `exempt` from "fixed-point").
    - With all its settings at their off values, and inactive guidances inside it, it requests only
      the conditional pass and returns that prediction bit for bit.

    `hints`: those that the denoiser must support. `harmony_parts.testing.guidance_properties`
    checks further properties. Raises PartContractError if a check fails.
    """
    check_value(guidance)
    for task, steps in STEPS.items():
        random = generator()
        state = None
        for times in steps:
            passes = checked_passes(guidance, times, state, hints=hints)
            require(
                passes == list(guidance.passes(times, state)),
                guidance,
                "request the same passes for the same arguments",
            )
            _check_conditional(guidance, passes, times, task)
            _check_combine(guidance, passes, times, state, random, task)
            _, state = guided(guidance, predictions(passes, random), times, state)
    _check_off(guidance)


def _check_conditional(guidance: Guidance, passes: list[Pass], times: StepTimes, task: str) -> None:
    """The conditional pass is requested, and needed by anchors that use the estimate."""
    sources = {each.name for each in passes if each == conditional(times)}
    require(
        CONDITIONAL in sources,
        guidance,
        f"request the conditional pass, conditional(times), with its name {CONDITIONAL!r} ({task})",
    )
    anchored = [each for each in passes if any(a.from_estimate for _, a in each.replace)]
    require(
        all(sources & set(each.needs) for each in anchored),
        guidance,
        f"let passes with an anchor that uses the estimate need the conditional pass ({task})",
    )


def _check_combine(
    guidance: Guidance,
    passes: list[Pass],
    times: StepTimes,
    state: Any,
    random: torch.Generator,
    task: str,
) -> None:
    preds = predictions(passes, random)
    copies = {name: velocity.map(torch.clone) for name, velocity in preds.items()}
    result, _ = guided(guidance, preds, times, state)
    generated = times.generated()
    require(
        tuple(result) == generated,
        guidance,
        f"return the generated streams; {task}: {generated}, not {tuple(result)}",
    )
    shaped = all(
        result[s].shape == (4, *SHAPES[s]) and torch.isfinite(result[s]).all() for s in generated
    )
    require(shaped, guidance, f"return finite velocities of the predictions' shapes ({task})")
    again = _equal(result, guided(guidance, preds, times, state)[0])
    require(again, guidance, f"return the same result for the same arguments ({task})")
    unchanged = all(_equal(copies[name], preds[name]) for name in copies)
    require(unchanged, guidance, f"not change the predictions in place ({task})")
    agreed = predictions(passes, random, same=True)
    # A state may hold values of every sample, so other predictions need a step without state.
    if state is None:
        _check_first_step(guidance, preds, agreed, times, result, task)


def _check_first_step(
    guidance: Guidance,
    preds: Predictions,
    agreed: Predictions,
    times: StepTimes,
    result: AV[Tensor],
    task: str,
) -> None:
    """Samples are independent, and predictions that agree are unchanged."""
    rows = torch.tensor([2, 0])
    picked = {name: velocity.map(lambda v: v[rows]) for name, velocity in preds.items()}
    some, _ = guided(guidance, picked, times, None)
    independent = _near(some, result.map(lambda v: v[rows]))
    require(independent, guidance, f"guide samples independently ({task})")
    if "fixed-point" not in getattr(guidance, "exempt", {}):
        got, want = guided(guidance, agreed, times, None)[0], _any(agreed, times.generated())
        passes = ", ".join(name for name in preds if name != LATENTS)
        require(
            _near(got, want),
            guidance,
            f"return the conditional prediction if all passes ({passes}) agree ({task}); it differs"
            f" by {_difference(got, want)}. If it can't, it says so:"
            " exempt = {'fixed-point': REASON}",
        )


def switched_off(guidance: Any) -> Any:
    """The guidance with all settings at their off values; `None` if it has no such settings.

    Guidances inside it are replaced by `NoGuidance`.
    """
    fields = attrs.fields(type(guidance)) if attrs.has(type(guidance)) else ()
    off = {
        field.name: field.metadata["off"]
        for field in fields
        if field.metadata.get("off") is not None
    }
    if not off:
        return None
    # a wrapper that is off equals the inner guidance, so switch that off, too
    for field in fields:
        if (
            field.name not in off
            and field.init
            and callable(getattr(getattr(guidance, field.name), "combine", None))
        ):
            off[field.name] = NoGuidance()
    return attrs.evolve(guidance, **off)


def _check_off(guidance: Guidance) -> None:
    quiet = switched_off(guidance)
    if quiet is None:
        return
    for steps in STEPS.values():
        random, state = generator(), None
        for times in steps:
            passes = list(quiet.passes(times, state))
            require(
                passes == [conditional(times)],
                guidance,
                f"request only conditional(times) at its off values; {quiet!r} requests {passes}",
            )
            require(
                passes[0].name == CONDITIONAL,
                guidance,
                f"give the conditional pass the name {CONDITIONAL!r}",
            )
            preds = predictions(passes, random)
            result, state = guided(quiet, preds, times, state)
            require(
                _equal(result, preds[CONDITIONAL]),
                guidance,
                "return the conditional prediction bit for bit at its off values",
            )


def _any(preds: Predictions, streams: tuple[str, ...]) -> AV[Tensor]:
    return AV(
        **{
            s: next(v[s] for name, v in preds.items() if name != LATENTS and s in tuple(v))
            for s in streams
        }
    )


def _equal(a: AV[Tensor], b: AV[Tensor]) -> bool:
    return tuple(a) == tuple(b) and all(torch.equal(a[s], b[s]) for s in a)


def _difference(a: AV[Tensor], b: AV[Tensor]) -> str:
    """The largest difference of each stream."""
    return ", ".join(f"{(a[s].double() - b[s].double()).abs().max():.2g} in {s}" for s in a)


def _near(a: AV[Tensor], b: AV[Tensor]) -> bool:
    return tuple(a) == tuple(b) and all(
        torch.allclose(a[s].double(), b[s].double(), atol=1e-5, rtol=1e-5) for s in a
    )

"""What holds for every guidance, whatever the predictions: properties that hypothesis tries to
break.

    import pytest
    from harmony_parts.testing.guidance_properties import cases

    @pytest.mark.parametrize(("guidance", "holds"), cases(MyGuidance()))
    def test_properties(guidance, holds):
        holds(guidance)

Each case is one property of one guidance. A property that can't hold for a guidance is declared by
it, in `exempt`, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import attrs
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from harmony_parts.av import AV
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    LATENTS,
    Guidance,
    Pass,
    StepTimes,
    conditional,
)
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window
from harmony_parts.sample.passes import combined
from harmony_parts.testing.contracts.guidance import switched_off
from harmony_parts.testing.guidance_walks import (
    FORMS,
    OTHER,
    Change,
    Walk,
    asked,
    key,
    results,
    some_walks,
    steps,
    walks,
)

Check = Callable[[Any, Walk], bool]
PROPERTIES: dict[str, Property] = {}
"""Name -> property."""


@attrs.frozen
class Property:
    """`check(guidance, walk)` says whether it holds on a walk; `applies(guidance)` whether there is
    anything to check.
    """

    name: str
    must: str
    check: Check
    applies: Callable[[Any], bool]

    def __call__(self, guidance: Guidance, examples: int = 15) -> None:
        """Look for a walk on which it doesn't hold, in `examples` of them. Raises
        PartContractError, naming guidance, property and walk.
        """

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(walks())
        def holds(walk: Walk) -> None:
            if not self.check(guidance, walk):
                raise PartContractError(
                    f"{guidance!r} must {self.must} (the property {self.name!r}); it doesn't on"
                    f" {walk}"
                )

        holds()


def cases(*guidances: Guidance, known_failures: Mapping[str, str] | None = None) -> list[Any]:
    """Every property of every guidance, as parameters (guidance, property) for pytest.

    Properties that a guidance, or one inside it, declares as `exempt` are left out. Those of
    `known_failures` (name -> why) must fail: they are strict xfails. Raises PartContractError for
    names that no property has.
    """
    import pytest

    known = known_failures or {}
    _check_names("known_failures", known)
    found = []
    for guidance in guidances:
        exempt = exemptions(guidance)
        for name, each in PROPERTIES.items():
            if name not in exempt and each.applies(guidance):
                marks = (
                    [pytest.mark.xfail(reason=known[name], strict=True, raises=PartContractError)]
                    if name in known
                    else []
                )
                found.append(pytest.param(guidance, each, marks=marks, id=f"{guidance!r}: {name}"))
    return found


def exemptions(guidance: Any) -> dict[str, str]:
    """The properties that a guidance declares not to have, and those inside it. Raises
    PartContractError for names that no property has.
    """
    own = dict(getattr(guidance, "exempt", {}))
    _check_names(f"{type(guidance).__name__}.exempt", own)
    for inner in _inside(guidance):
        own |= exemptions(inner)
    return own


def check_exemptions(guidance: Any) -> None:
    """Every property that a guidance declares not to have fails somewhere. Raises PartContractError
    for one that seems to hold.
    """
    _check_names(f"{type(guidance).__name__}.exempt", guidance.exempt)
    for name in guidance.exempt:
        if all(PROPERTIES[name].check(guidance, walk) for walk in some_walks()):
            raise PartContractError(
                f"{guidance!r} must {PROPERTIES[name].must} or not: it is exempt from {name!r},"
                " which seems to hold"
            )


def _check_names(where: str, names: Mapping[str, str]) -> None:
    for name in set(names) - set(PROPERTIES):
        near = get_close_matches(name, PROPERTIES, 1)
        raise PartContractError(
            f"{where} names the property {name!r}{f' (did it mean {near[0]!r}?)' if near else ''};"
            f" there are: {', '.join(PROPERTIES)}"
        )


def _inside(guidance: Any) -> Iterator[Any]:
    """The guidances that are settings of a guidance."""
    for field in attrs.fields(type(guidance)):
        value = getattr(guidance, field.name)
        yield from (
            each
            for each in (value if isinstance(value, tuple) else (value,))
            if callable(getattr(each, "combine", None))
        )


def _scales(guidance: Any) -> list[str]:
    fields = attrs.fields(type(guidance))
    return [
        f.name
        for f in fields
        if f.name in ("video", "audio", "scale") and f.metadata.get("off") == 1.0
    ]


def same(a: AV[Tensor], b: AV[Tensor]) -> bool:
    """Bit for bit, but for the sign of zeros."""
    return tuple(a) == tuple(b) and all(torch.equal(a[s], b[s]) for s in a)


def near(a: AV[Tensor], b: AV[Tensor]) -> bool:
    """To the rounding of a few dozen float64 operations, at scales up to a hundred."""
    return tuple(a) == tuple(b) and all(
        a[s].shape == b[s].shape
        and bool(((a[s] - b[s]).abs() <= 1e-10 * (1 + a[s].abs().max() + b[s].abs().max())).all())
        for s in a
    )


def _all(
    like: Callable[[AV[Tensor], AV[Tensor]], bool], a: list[AV[Tensor]], b: list[AV[Tensor]]
) -> bool:
    return len(a) == len(b) and all(map(like, a, b))


def _property(
    name: str, must: str, applies: Callable[[Any], bool] = lambda guidance: True
) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        PROPERTIES[name] = Property(name, must, check, applies)
        return check

    return add


def _own(step: Any) -> AV[Tensor]:
    """The conditional prediction of a step."""
    return step.preds[CONDITIONAL].only(step.times.generated())


# --- what the values of its settings mean ---------------------------------------------------------


@_property(
    "off",
    "ask for conditional(times) alone and return it bit for bit at its off values",
    lambda g: switched_off(g) is not None,
)
def _off(guidance: Guidance, walk: Walk) -> bool:
    return all(
        step.passes == [conditional(step.times)] and same(step.result, _own(step))
        for step in steps(switched_off(guidance), walk)
    )


@_property(
    "zero", "return its other prediction bit for bit at scales of 0", lambda g: bool(_scales(g))
)
def _zero(guidance: Any, walk: Walk) -> bool:
    def negative(step: Any, stream: str) -> bool:
        others = [
            v[stream]
            for name, v in step.preds.items()
            if name not in (CONDITIONAL, LATENTS) and stream in tuple(v)
        ]
        return any(
            torch.equal(step.result[stream], v) for v in others or [step.preds[CONDITIONAL][stream]]
        )

    zero = attrs.evolve(guidance, **dict.fromkeys(_scales(guidance), 0.0))
    return all(negative(step, stream) for step in steps(zero, walk) for stream in step.result)


# --- what predictions do to the result ------------------------------------------------------------


@_property("fixed-point", "change nothing where all passes agree")
def _fixed_point(guidance: Guidance, walk: Walk) -> bool:
    agreed: Change = lambda name, stream, v: (  # noqa: E731
        v if name == LATENTS else walk.values(0, "agreed", stream)
    )
    return all(near(step.result, _own(step)) for step in steps(guidance, walk, agreed))


@_property("affine", "scale and move its result by what all predictions are scaled and moved by")
def _affine(guidance: Guidance, walk: Walk) -> bool:
    a = 2.5 if walk.seed % 2 else -0.7

    def moved(stream: str, v: Tensor) -> Tensor:
        return a * v + walk.values(0, "offset", stream)

    want = [AV(**{s: moved(s, v[s]) for s in v}) for v in results(guidance, walk)]
    return _all(
        near,
        results(guidance, walk, lambda name, stream, v: v if name == LATENTS else moved(stream, v)),
        want,
    )


@_property("homogeneous", "scale its result by what the latents and all predictions are scaled by")
def _homogeneous(guidance: Guidance, walk: Walk) -> bool:
    a = 2.5 if walk.seed % 2 else -0.7
    return _all(
        near,
        results(guidance, walk, lambda name, stream, v: a * v),
        [v.map(lambda v: a * v) for v in results(guidance, walk)],
    )


@_property("space", "guide clean estimates, x_t - t v, as it guides velocities")
def _space(guidance: Guidance, walk: Walk) -> bool:
    velocity, clean = list(steps(guidance, walk)), []
    for number, step in enumerate(velocity):
        x, state = step.preds[LATENTS], velocity[number - 1].state if number else None
        there = {
            name: v if name == LATENTS else _clean(v, x, step.times)
            for name, v in step.preds.items()
        }
        clean.append(guidance.combine(there, step.times, state)[0])
    return all(
        near(got, _clean(step.result, step.preds[LATENTS], step.times))
        for got, step in zip(clean, velocity, strict=True)
    )


def _clean(velocity: AV[Tensor], x: AV[Tensor], times: StepTimes) -> AV[Tensor]:
    return velocity.map(lambda v, x, t: x - t * v, x, AV(times.video, times.audio))


@_property("batch", "guide each sample by itself")
def _batch(guidance: Guidance, walk: Walk) -> bool:
    rows = [walk.samples - 1, 0, 0]
    return _all(
        near,
        results(guidance, walk, lambda name, stream, v: v[rows]),
        [v.map(lambda v: v[rows]) for v in results(guidance, walk)],
    )


@_property("tokens", "not care where a latent stands")
def _tokens(guidance: Guidance, walk: Walk) -> bool:
    def turned(v: Tensor) -> Tensor:
        flat = v.flatten(1, -2)
        order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(walk.seed))
        return flat[:, order].reshape(v.shape)

    want = [v.map(turned) for v in results(guidance, walk)]
    return _all(near, results(guidance, walk, lambda name, stream, v: turned(v)), want)


@_property("streams", "not let one stream's predictions or scale into the other stream's result")
def _streams(guidance: Guidance, walk: Walk) -> bool:
    before = results(guidance, walk)
    return all(
        _all(same, [v.only((kept,)) for v in other], [v.only((kept,)) for v in before])
        for kept in ("video", "audio")
        for other in (
            results(guidance, walk, _waved(OTHER[kept])),
            results(_turned_up(guidance, OTHER[kept]), walk),
        )
    )


def _turned_up(guidance: Any, stream: str) -> Any:
    """A guidance, and those inside it, with another scale of that stream."""
    change = {stream: getattr(guidance, stream) + 0.7} if stream in _scales(guidance) else {}
    return _with_inside(attrs.evolve(guidance, **change), lambda inner: _turned_up(inner, stream))


def _waved(changed: str) -> Change:
    return lambda name, stream, v: v.sin() + 2 if stream == changed else v


@_property("swap", "do to one stream what it does to the other, with their settings exchanged")
def _swap(guidance: Guidance, walk: Walk) -> bool:
    other, state, swapped_state = swapped(guidance), None, None
    for number, times in enumerate(walk.times):
        turned = StepTimes(times.audio, times.video)
        passes, swapped_passes = asked(guidance, times, state), asked(other, turned, swapped_state)
        if sorted(map(_shape, passes)) != sorted(
            _shape(each, swap=True) for each in swapped_passes
        ):
            return False
        result, state = guidance.combine(
            walk.predictions(number, passes, anchors=False), times, state
        )
        preds = {
            LATENTS: AV(**{s: walk.values(number, LATENTS, OTHER[s]) for s in turned.present()})
        }
        for each in swapped_passes:
            preds[each.name] = AV(
                **{s: walk.values(number, key(each, False, swap=True), OTHER[s]) for s in each.read}
            )
        swapped_result, swapped_state = other.combine(preds, turned, swapped_state)
        if not same(AV(swapped_result.audio, swapped_result.video), result):
            return False
    return True


def _shape(asked: Pass, swap: bool = False) -> str:
    return repr((key(asked, False, swap), sorted(OTHER[s] if swap else s for s in asked.read)))


def swapped(guidance: Any) -> Any:
    """A guidance, and those inside it, with the settings `video` and `audio` exchanged."""
    both = {field.name for field in attrs.fields(type(guidance))} >= {"video", "audio"}
    turned = (
        attrs.evolve(guidance, video=guidance.audio, audio=guidance.video) if both else guidance
    )
    return _with_inside(turned, swapped)


def _with_inside(guidance: Any, change: Callable[[Any], Any]) -> Any:
    """A guidance with `change` done to each that is a setting of it."""
    changed: dict[str, Any] = {}
    for field in attrs.fields(type(guidance)):
        value = getattr(guidance, field.name)
        if callable(getattr(value, "combine", None)):
            changed[field.name] = change(value)
        elif isinstance(value, tuple) and all(
            callable(getattr(each, "combine", None)) for each in value
        ):
            changed[field.name] = tuple(map(change, value))
    return attrs.evolve(guidance, **changed)


# --- passes ---------------------------------------------------------------------------------------


@_property(
    "used", "use every pass that it asks for, but for the task's own and those that others need"
)
def _used(guidance: Guidance, walk: Walk) -> bool:
    walked = list(steps(guidance, walk))
    for number, step in enumerate(walked):
        needed = {need for each in step.passes for need in each.needs} | {CONDITIONAL}
        for each in step.passes:
            if each.name in needed:
                continue
            state = walked[number - 1].state if number else None
            for stream in step.preds[each.name]:
                v = step.preds[each.name]
                changed = step.preds | {
                    each.name: v.replace(
                        **{stream: v[stream] + walk.values(number, "change", stream)}
                    )
                }
                if same(guidance.combine(changed, step.times, state)[0], step.result):
                    return False
    return True


@_property("anchor", "change nothing where an anchor is the given stream itself")
def _anchor(guidance: Guidance, walk: Walk) -> bool:
    state: Any = None
    for number, times in enumerate(walk.times):
        passes = asked(guidance, times, state)
        others = [each for each in passes if each != conditional(times)]
        if not others or not all(_gives_what_is_given(each, times) for each in others):
            return True  # no anchor, or another term that has a say
        own = walk.predictions(number, passes)
        preds = {
            name: own[CONDITIONAL].only(tuple(v)) if name != LATENTS else v
            for name, v in own.items()
        }
        result, state = guidance.combine(preds, times, state)
        if not near(result, own[CONDITIONAL].only(times.generated())):
            return False
    return True


def _gives_what_is_given(asked: Pass, times: StepTimes) -> bool:
    return (
        bool(asked.replace)
        and not asked.drop
        and not asked.hints
        and all(times[stream] == 0 for stream, _ in asked.replace)
    )


# --- with other guidances -------------------------------------------------------------------------


@_property("beside-off", "be itself bit for bit in a sum with SyncCFG at its off values")
def _beside_off(guidance: Guidance, walk: Walk) -> bool:
    summed = Sum((guidance, SyncCFG(1, 1)))
    return _all(same, results(summed, walk), results(guidance, walk))


@_property("commute", "make the same sum in whatever order the terms are")
def _commute(guidance: Guidance, walk: Walk) -> bool:
    other = CFG(2.5, 1.5, drop=("caption",))
    return _all(near, results(Sum((guidance, other)), walk), results(Sum((other, guidance)), walk))


@_property(
    "window",
    "be itself bit for bit inside a window of time, and nothing outside, whatever is predicted",
)
def _window(guidance: Guidance, walk: Walk) -> bool:
    first, last = walk.times[0].highest(), walk.times[-1].highest()
    open_, closed = (
        Window(guidance, 0, first),
        (Window(guidance, first, 1) if first < 1 else Window(guidance, 0, last / 2)),
    )
    quiet = all(
        step.passes == [conditional(step.times)] and same(step.result, _own(step))
        for step in steps(closed, walk)
    )
    return quiet and _all(same, results(open_, walk), results(guidance, walk))


# --- what it remembers, and how exactly it computes -----------------------------------------------


@_property("replay", "do the same again, and leave what it is given as it is")
def _replay(guidance: Guidance, walk: Walk) -> bool:
    walked = list(steps(guidance, walk))
    for number, step in enumerate(walked):
        state = walked[number - 1].state if number else None
        kept = walk.predictions(number, step.passes)
        if not same(guidance.combine(step.preds, step.times, state)[0], step.result):
            return False
        if (
            any(not same(step.preds[name], kept[name]) for name in kept)
            or asked(guidance, step.times, state) != step.passes
        ):
            return False
    return _all(same, results(guidance, walk), [step.result for step in walked])


@_property(
    "interleaved", "remember nothing but its state: runs by turns are like runs one after the other"
)
def _interleaved(guidance: Guidance, walk: Walk) -> bool:
    other = attrs.evolve(walk, seed=walk.seed + 1)
    by_turns = list(zip(steps(guidance, walk), steps(guidance, other), strict=True))
    return all(
        _all(same, [pair[k].result for pair in by_turns], results(guidance, each))
        for k, each in enumerate((walk, other))
    )


@_property(
    "bfloat16",
    "be in bfloat16 what it is in float32, rounded once, and in float32 nearly what it is in"
    " float64",
)
def _bfloat16(guidance: Guidance, walk: Walk) -> bool:
    rough = attrs.evolve(walk, dtype=torch.bfloat16)
    dtypes = (torch.bfloat16, torch.float32, torch.float64)
    states: list[Any] = [None, None, None]
    for number, times in enumerate(walk.times):
        preds = rough.predictions(number, asked(guidance, times, states[0]))
        made = []
        for k, dtype in enumerate(dtypes):
            each = {name: v.map(lambda v: v.to(dtype)) for name, v in preds.items()}  # noqa: B023
            result, states[k] = combined(guidance, each, times, states[k], each[LATENTS])
            made.append(result)
        # A few dozen float32 operations on numbers below a hundred: 1e-5 of the greatest, far below
        # bfloat16's 4e-3.
        close = all(
            ((made[1][s] - made[2][s]).abs() <= 1e-5 * (1 + made[2][s].abs().max())).all()
            for s in made[1]
        )
        if not close or not same(made[0], made[1].map(lambda v: v.bfloat16())):
            return False
    return True


@_property("finite", "stay finite for predictions of zeros, constants, tiny and huge numbers")
def _finite(guidance: Guidance, walk: Walk) -> bool:
    return all(
        bool(torch.isfinite(v[stream]).all())
        for form in FORMS
        for v in results(guidance, attrs.evolve(walk, dtype=torch.float32, form=form))
        for stream in v
    )

"""Matching a checkpoint's tensors with those of the recipe's model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

import attrs
import torch
from torch import Tensor

from harmony_parts.convert import report
from harmony_parts.convert.fresh import Fresh
from harmony_parts.convert.layouts import Rule
from harmony_parts.convert.plan import ConversionPlan, WeightSource
from harmony_parts.convert.report import TensorRecord
from harmony_parts.errors import RunError, nearest

SHOWN = 12  # mismatches in an error
Origin = tuple[WeightSource, str, Rule]
"""Where a tensor of ours comes from: the source, its name there, and the rule between the names."""


@attrs.frozen(eq=False)
class Match:
    """The tensors of the model to write.

    `shapes`: our name -> a meta tensor, in the model's order; `origins`: our name -> origin, for
    all that a checkpoint has; `records`: what happened to every tensor, for the report.
    """

    shapes: dict[str, Tensor]
    origins: dict[str, Origin]
    records: tuple[TensorRecord, ...]


def match_tensors(
    plan: ConversionPlan, fresh: Fresh, partial: Sequence[str], dtype: torch.dtype | None
) -> Match:
    """Match the plan's checkpoints with the model's tensors.

    Raises RunError for missing, superfluous or misshapen tensors, unless the plan or a pattern in
    `partial` expects them.
    """
    _check_patterns(plan, fresh, partial)
    matcher = _Matcher(fresh, partial, dtype)
    for source in plan.sources:
        matcher.take(source)
    matcher.initialise(plan.fresh)
    if matcher.faults:
        raise RunError(_mismatch(matcher.faults))
    return matcher.result()


class _Matcher:
    """The state of a match: first `take` every source, then `initialise` the rest."""

    def __init__(self, fresh: Fresh, partial: Sequence[str], dtype: torch.dtype | None) -> None:
        self.fresh, self.partial, self.dtype = fresh, partial, dtype
        self.shapes: dict[str, Tensor] = {}
        self.origins: dict[str, Origin] = {}
        self.unused: list[TensorRecord] = []
        self.initialised: list[TensorRecord] = []
        self.faults: list[str] = []

    def take(self, source: WeightSource) -> None:
        """Take the tensors of a source that the model has."""
        ours = {theirs: (f"denoiser.{name}", rule) for theirs, name, rule in source.matched()}
        for theirs, their in source.weights.shapes.items():
            name, rule = ours.get(theirs, ("", None))
            expected = self.fresh.expected.get(name)
            if rule is not None and expected is not None:
                shaped = rule.shape(their)
                if shaped.shape == expected.shape:
                    self.origins[name] = (source, theirs, rule)
                    self.shapes[name] = shaped.to(self.dtype or their.dtype)
                    continue
                if not _matches(name, self.partial):
                    self.faults.append(
                        f"{name} is {list(expected.shape)} in the recipe's model, but {theirs}"
                        f" {list(shaped.shape)}"
                    )
                    continue
            self.unused.append(report.unused(theirs, their, source.weights.path.name))
            if expected is None and not _matches(theirs, (*source.unused, *self.partial)):
                self.faults.append(
                    f"{theirs} {list(their.shape)} has no counterpart in the recipe's model"
                )

    def initialise(self, expected_fresh: Iterable[str]) -> None:
        """List the tensors that no source has, in the type that most of the others have."""
        types = Counter(tensor.dtype for tensor in self.shapes.values())
        usual = self.dtype or types.most_common(1)[0][0]
        expected = (
            *expected_fresh,
            *_further_conditions(self.fresh),
            "encoders.*",
            *self.partial,
        )
        faulty = {fault.partition(" ")[0] for fault in self.faults}
        for name, tensor in self.fresh.expected.items():
            if name in self.origins:
                continue
            self.shapes[name] = tensor.to(usual) if tensor.is_floating_point() else tensor
            self.initialised.append(report.initialised(name, self.shapes[name]))
            if not _matches(name, expected) and name not in faulty:
                self.faults.append(f"{name} {list(tensor.shape)} isn't in the checkpoint")

    def result(self) -> Match:
        """The match, with the tensors in the model's order."""
        mapped = [
            report.mapped(
                name,
                theirs,
                self.shapes[name],
                source.weights.shapes[theirs],
                source.weights.path.name,
            )
            for name, (source, theirs, _) in self.origins.items()
        ]
        ordered = {name: self.shapes[name] for name in self.fresh.expected}
        return Match(ordered, self.origins, (*mapped, *self.initialised, *self.unused))


class ConvertedTensors:
    """Our tensors by name, read from a checkpoint or freshly initialised.

    `not_finite` collects the names of those with NaN or infinity.
    """

    def __init__(
        self, match: Match, fresh: Fresh, progress: Callable[[int, int], None] | None
    ) -> None:
        self.match, self.fresh, self.progress, self.done = match, fresh, progress, 0
        self.not_finite: list[str] = []

    def __call__(self, name: str) -> Tensor:
        dtype = self.match.shapes[name].dtype
        if name in self.match.origins:
            source, theirs, rule = self.match.origins[name]
            tensor = rule.shape(source.weights[theirs]).to(dtype)
        else:
            tensor = self.fresh[name].to(dtype)
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            self.not_finite.append(name)
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, len(self.match.shapes))
        return tensor


def _check_patterns(plan: ConversionPlan, fresh: Fresh, partial: Sequence[str]) -> None:
    """Raise RunError for a pattern that matches no tensor, with the nearest name."""
    theirs = (name for source in plan.sources for name in source.weights.shapes)
    names = [*fresh.expected, *theirs]
    for pattern in partial:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise RunError(
                f"--partial {pattern!r} matches no tensor of the model or the"
                f" checkpoint{nearest(pattern, names)}"
            )


def _further_conditions(fresh: Fresh) -> list[str]:
    """Patterns of the weights for conditions that neither Wan nor Ovi has."""
    further = [name for name in fresh.parts.denoiser.accepts if name not in ("caption", "sound")]
    return [
        "denoiser.branches.*.listener.groups.*",
        *(f"denoiser.branches.*.listener.projections.{name}.*" for name in further),
    ]


def _mismatch(faults: Sequence[str]) -> str:
    shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
    if len(faults) > SHOWN:
        shown += f"\n  and {len(faults) - SHOWN} more"
    return (
        f"the checkpoint and the recipe's model differ in {len(faults)} tensors; name those that"
        " may be initialised or left out with --partial (in Python: partial), or give a recipe with"
        f" other codecs and encoders with --recipe:\n{shown}"
    )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

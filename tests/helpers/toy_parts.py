"""A small recipe of built-in parts, and a plugin whose guidance has settings of every type."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Generic, Literal, TypeVar

import attrs

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.av import AV
from harmony_parts.guidance.protocol import (
    CONDITIONAL,
    Guidance,
    Pass,
    Predictions,
    StepTimes,
    conditional,
)
from harmony_parts.plugin import PartDeclaration, hookimpl, knob, part

N = TypeVar("N")

TINY: dict[str, Any] = {
    "name": "tiny",
    "summary": "A minimal recipe with every kind of part.",
    "format": {"fps": "25/2", "height": 32, "width": 32, "sample_rate": 16000, "seconds": 1},
    "codecs": {"video": "dct", "audio": "log-mel"},
    "encoders": {"caption": "bytes", "sound": {"use": "bytes", "field": "sound"}},
    "denoiser": {
        "use": "dual-branch",
        "layers": 1,
        "video": {"use": "transformer", "width": 24, "heads": 2, "feed": 32},
        "audio": {"use": "mmdit", "width": 24, "heads": 2, "feed": 32},
    },
    "flow": {
        "path": "straight",
        "density": "logit-normal",
        "shift": {"use": "constant", "shift": 3},
    },
    "task": "weighted-sum",
    "data": "soundstage",
    "sample": {"guidance": "sync-cfg", "solver": "euler", "shift": "constant"},
    "train": {"drop": {"caption": 0.1}},
    "metrics": ["events", {"use": "correlation", "reach": 0.4}],
}


@attrs.frozen
class Size:
    """A class of settings that isn't a part."""

    width: int = 1
    height: int = 2


@attrs.frozen
class Both(Generic[N]):
    """A generic class of settings: one value per stream."""

    video: N | None = None
    audio: N | None = None


@attrs.frozen
class Everything:
    """A guidance that only returns the conditional prediction; tests are about its settings."""

    scale: float = knob(1.0, help="a number", validator=attrs.validators.ge(0))
    count: int = knob(3, help="a whole number", validator=attrs.validators.ge(0))
    label: str = knob("", help="a string")
    on: bool = knob(True, help="a switch")
    rate: Fraction = knob(Fraction(25), help="a fraction")
    mode: Literal["a", "b"] = knob("a", help="a choice")
    numbers: tuple[float, ...] = knob((), help="a list")
    pair: tuple[int, str] = knob((0, "x"), help="a list of two")
    weights: dict[str, float] = knob(attrs.Factory(dict), help="a table")
    names: frozenset[str] = knob(frozenset(), help="a set")
    size: Size = knob(Size(), help="a class of settings")
    both: Both[float] = knob(Both(), help="a generic class")
    either: int | str = knob(0, help="a number or a string")
    limit: int | None = knob(5, help="a number or absent; a number by default")
    absent: float | None = knob(None, help="absent by default")
    inner: Guidance | None = knob(None, help="a part or absent")
    others: tuple[Guidance, ...] = knob((), help="parts")
    named: dict[str, Guidance] = knob(attrs.Factory(dict), help="named parts")
    hint: str = knob("", help="a hint to request", off="")
    given: str = knob("", help="request the hint only if this stream is given", off="")

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        """The conditional pass, with the hint."""
        requested = self.hint and (not self.given or times[self.given] == 0)
        return [attrs.evolve(conditional(times), hints=frozenset({self.hint} if requested else ()))]

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Any], Any]:
        """The conditional prediction."""
        return preds[CONDITIONAL], state


class Plugin:
    """A plugin that isn't a module."""

    @hookimpl
    def harmony_guidance(self) -> Iterator[PartDeclaration]:
        """Declare one guidance."""
        yield part("everything", "helpers.toy_parts:Everything", summary="A setting of every type.")


def with_toys() -> Catalogue:
    """The built-in parts and the plugin."""
    found = Catalogue.discover(only=())
    found.add("toys", Plugin())
    return found

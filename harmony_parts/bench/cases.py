"""What a benchmark asks for: cases from a file, those that ship, and Soundstage's held-out ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
from torch import Tensor

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import Format
from harmony_parts.data.soundstage import Soundstage, SoundstageSet
from harmony_parts.errors import RequestError, nearest
from harmony_parts.generate.batch_file import read_batch
from harmony_parts.generate.request import Request
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Reference
from harmony_parts.scenes.ambient import Ambient
from harmony_parts.scenes.complex import Complex
from harmony_parts.scenes.hard import Hard
from harmony_parts.scenes.protocol import StageScene
from harmony_parts.scenes.talk import Talk

SETS: dict[str, StageScene] = {
    "ambient": Ambient(),
    "speech": Talk(),
    "complex": Complex(),
    "hard": Hard(level=2.0),
}
"""Soundstage's sets: each has 50 held-out cases."""
OWN, PLAIN = "own", "clips"  # the set of the model's own scenes; that of cases without one
SMALL = 16  # pixels
SHIPPED = Path(__file__).with_name("cases.jsonl")


@attrs.frozen(eq=False)
class Case:
    """A clip to ask for: its name, its set, and the request; the seed is the benchmark's.

    `index` is that of the true clip in Soundstage's set `truth`; a driven task has another `set`.
    """

    name: str
    set: str
    request: Request
    index: int = 0
    truth: str = ""

    @property
    def key(self) -> str:
        """The case among those of all sets."""
        return f"{self.set}/{self.name}"

    def reference(self) -> Reference:
        """What its clip should contain, for metrics that compare with it.

        Raises MediaError if a file can't be read.
        """
        voice, image = self.request.path("voice"), self.request.path("image")
        return Reference(
            self.request.speech,
            None if voice is None else Clip.read(voice, streams={"audio"}),
            None if image is None else _first(Clip.read(image, streams={"video"})),
        )


def _first(clip: Clip) -> Tensor:
    assert clip.frames is not None
    return clip.frames[0]


def read_cases(path: Path, defaults: Request) -> list[Case]:
    """The cases of a JSONL file: batch lines of `harmony generate`, with a `set` for each.

    Raises RequestError with all faults of the file, by line and field.
    """
    return [
        Case(job.name.rpartition(".")[0], job.labels.get("set", PLAIN), job.request)
        for job in read_batch(path, defaults, labels=("set",))
    ]


def held_out(name: str, format: Format, recipe: Recipe | None = None) -> SoundstageSet:
    """The held-out clips of a set in a format: a set of SETS, or "own", the recipe's scenes."""
    spec = Soundstage(scenes=(SETS[name],)) if name != OWN else _own(recipe)
    return attrs.evolve(spec, held_out=True).build(format=format)


def soundstage_cases(name: str, format: Format, recipe: Recipe | None = None) -> list[Case]:
    """The texts of a held-out set (see `held_out`) in a format."""
    # the texts depend on the clips' length alone, and large clips take minutes to draw
    data = held_out(name, attrs.evolve(format, height=SMALL, width=SMALL), recipe)
    examples = [data.example(index) for index in range(len(data))]
    return [
        Case(
            each.name,
            name,
            Request(prompt=each.prompt.caption, sound=each.prompt.sound, speech=each.prompt.speech),
            index,
            name,
        )
        for index, each in enumerate(examples)
    ]


def has_own(recipe: Recipe | None) -> bool:
    """Whether the recipe's data are scenes of Soundstage."""
    return recipe is not None and isinstance(recipe.data, Soundstage)


def _own(recipe: Recipe | None) -> Soundstage:
    if recipe is None or not isinstance(recipe.data, Soundstage):
        raise RequestError(
            "the set own is of the scenes that a model was trained on, and this one wasn't trained"
            f" on Soundstage; there are: {', '.join(SETS)}"
        )
    return recipe.data


def chosen_cases(
    file: Path | None, sets: Sequence[str], recipe: Recipe | None, defaults: Request
) -> list[Case]:
    """The cases of `file`, or Soundstage's for a model of it, or those that ship; only `sets`.

    Soundstage's cases are drawn in the recipe's format. Raises RequestError for an unknown set, or
    for a file that can't be used.
    """
    if file is None and recipe is not None and (sets or has_own(recipe)):
        names = list(sets) or [OWN]
        check_sets(names, [*SETS, OWN])
        found = [case for name in names for case in soundstage_cases(name, recipe.format, recipe)]
        return [
            attrs.evolve(
                case,
                request=attrs.evolve(case.request, steps=defaults.steps, seconds=defaults.seconds),
            )
            for case in found
        ]
    cases = read_cases(SHIPPED if file is None else file, defaults)
    check_sets(sets, dict.fromkeys(case.set for case in cases))
    return [case for case in cases if not sets or case.set in sets]


def check_sets(sets: Iterable[str], known: Iterable[str]) -> None:
    """Raise RequestError if a set isn't known."""
    known = list(known)
    for name in sets:
        if name not in known:
            raise RequestError(
                f"there is no set {name!r}{nearest(name, known)}; there are: {', '.join(known)}"
            )


def first_of_each(cases: Sequence[Case], most: int) -> list[Case]:
    """The first cases of each set."""
    taken: dict[str, int] = {}
    kept = []
    for case in cases:
        taken[case.set] = taken.get(case.set, 0) + 1
        if taken[case.set] <= most:
            kept.append(case)
    return kept

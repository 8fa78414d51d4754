"""The contract check of data sets accepts the built-in ones and finds every way to break it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from harmony_parts.av import Event, Format, Prompt
from harmony_parts.data.clips import ClipFolder
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.errors import AssemblyError, MediaError, PartContractError
from harmony_parts.media.clip import Clip
from harmony_parts.testing.contracts.data import check_data

FORMAT = Format(fps=10, height=16, width=24, sample_rate=8000, seconds=1.0)
COUNT = itertools.count()
ODD = Format(fps="24000/1001", height=17, width=8, sample_rate=11025, seconds=0.7)


@pytest.mark.parametrize("format", [FORMAT, ODD], ids=["even", "odd"])
@pytest.mark.parametrize(
    "spec",
    [Soundstage(), *(Soundstage(scenes=(each,), size=1, seed=3) for each in Soundstage().scenes)],
    ids=repr,
)
def test_soundstage_passes(spec: Soundstage, format: Format) -> None:
    assert len(check_data(spec, format)) == spec.size


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, one of them short, and a file that isn't media."""
    root = tmp_path_factory.mktemp("clips")
    for name, frames in (("long", 25), ("short", 4)):
        picture = torch.randint(
            256, (frames, 16, 24, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
        )
        Clip(picture, Fraction(10), torch.linspace(-0.5, 0.5, 800 * frames)[None], 8000).save(
            root / f"{name}.mkv"
        )
    (root / "none.mkv").write_text("no media")
    return root


@pytest.mark.parametrize(
    "spec", [ClipFolder(), ClipFolder(memory_mb=0.0)], ids=["cached", "read again"]
)
def test_a_folder_of_clips_passes(spec: ClipFolder, folder: Path) -> None:
    assert len(check_data(spec, FORMAT, root=folder).unreadable) == 1


def test_a_missing_folder_is_an_assembly_error() -> None:
    with pytest.raises(AssemblyError, match="--data DIR"):
        check_data(ClipFolder(), FORMAT)


@attrs.frozen
class Broken:
    """A data set whose examples pass through `change(example, index, generator)`.

    `about` are further attributes of it.
    """

    change: Callable[..., Any] = lambda example, index, generator: example
    about: dict[str, Any] = attrs.field(factory=dict, hash=False)
    size: int = 5
    ends: bool = True

    def build(self, *, format: Format, root: Path | None = None) -> BrokenSet:
        return BrokenSet(self, Soundstage(size=max(self.size, 1)).build(format=format))


class BrokenSet:
    """The data set of `Broken`."""

    def __init__(self, spec: Broken, inner: Any) -> None:
        self.spec, self.inner = spec, inner
        vars(self).update(spec.about)

    def __len__(self) -> int:
        return self.spec.size

    def example(self, index: int, generator: torch.Generator) -> Example:
        example = self.inner.example(index if self.spec.ends else index % self.spec.size, generator)
        return self.spec.change(example, index, generator)


@attrs.frozen
class OnlyMono:
    """A data set whose clips are mono in any format, unless it refuses the others."""

    refuses: bool

    def build(self, *, format: Format, root: Path | None = None) -> Any:
        if self.refuses and format.channels != 1:
            raise AssemblyError("$.data: these clips are mono; set format.channels to 1")
        return Soundstage(size=3).build(format=attrs.evolve(format, channels=1))


def test_a_data_set_gives_the_formats_channels_or_refuses_them() -> None:
    check_data(OnlyMono(refuses=True), FORMAT)
    with pytest.raises(PartContractError, match=r"give sound \[2, 8000\] .*\[1, 8000\] at 8000"):
        check_data(OnlyMono(refuses=False), FORMAT)


def of_clip(change: Callable[[Clip], Clip]) -> Broken:
    return Broken(
        lambda example, index, generator: attrs.evolve(example, clip=change(example.clip))
    )


def of_prompt(**fields: Any) -> Broken:
    return Broken(
        lambda example, index, generator: attrs.evolve(
            example, prompt=attrs.evolve(example.prompt, **fields)
        )
    )


def of_events(*events: Any) -> Broken:
    return Broken(lambda example, index, generator: attrs.evolve(example, events=events))


def shared() -> Broken:
    """All examples share one voice tensor."""
    voice = torch.ones(1, 9)
    return Broken(
        lambda example, index, generator: attrs.evolve(example, prompt=Prompt(voice=voice))
    )


def _globally(example: Example, index: int, generator: torch.Generator) -> Example:
    return attrs.evolve(example, events=(Event(float(torch.rand(())) * 1e-9, "by chance"),))


def _unreadable(example: Example, index: int, generator: torch.Generator) -> Example:
    raise MediaError("it can't be read")


def _mute(example: Example, index: int, generator: torch.Generator) -> Example:
    return (
        attrs.evolve(example, clip=attrs.evolve(example.clip, waveform=None)) if index else example
    )


NOTHING = torch.zeros(1, 0)


@pytest.mark.parametrize(
    ("spec", "must"),
    [
        (Broken(size=0), "have at least one example"),
        (Broken(ends=False), "raise IndexError for example 5"),
        (Broken(about={"names": ["one"]}), "have a str for each of its 5 examples"),
        (
            Broken(about={"names": [f"other {k}" for k in range(5)]}),
            "give example 0 the name that `names` has",
        ),
        (Broken(about={"unreadable": {7: "bad"}}), "map numbers of examples to causes"),
        (
            Broken(about={"unreadable": dict.fromkeys(range(5), "bad")}),
            "raise MediaError in `build`",
        ),
        (
            Broken(about={"fingerprint": lambda index: str(next(COUNT))}),
            "have the same fingerprint",
        ),
        (
            Broken(_unreadable),
            "give at least one of its examples 0, 1, 3, 4; all raise MediaError",
        ),
        (
            Broken(lambda example, index, generator: None),
            "return an Example; example 0 is of NoneType",
        ),
        (Broken(_globally), "from torch's global one"),
        (
            Broken(
                lambda example, index, generator: attrs.evolve(example, name=f"call {next(COUNT)}")
            ),
            "give the same example for the same index",
        ),
        (shared(), "return new tensors each time"),
        (
            Broken(lambda example, index, generator: attrs.evolve(example, name=index)),
            "return an Example with a name",
        ),
        (Broken(_mute), "the same streams in all its clips"),
        (
            of_clip(lambda clip: attrs.evolve(clip, frames=clip.frames[1:])),
            r"give frames \[10, 16, 24, 3\] at 10 a second \(example 0: \[9",
        ),
        (of_clip(lambda clip: attrs.evolve(clip, fps=12)), "at 10 a second"),
        (
            of_clip(lambda clip: attrs.evolve(clip, waveform=clip.waveform[:, 1:])),
            r"give sound \[1, 8000\] at 8000 Hz",
        ),
        (
            of_clip(lambda clip: attrs.evolve(clip, sample_rate=16000)),
            r"give sound \[1, 8000\] at 8000 Hz",
        ),
        (of_clip(lambda clip: attrs.evolve(clip, waveform=clip.waveform / 0)), "give finite sound"),
        (
            Broken(lambda example, index, generator: attrs.evolve(example, prompt="a word")),
            r"give a Prompt, not a str \(example 0\)",
        ),
        (of_prompt(caption=["a word"]), "have str or `None` for the texts"),
        (of_prompt(image=torch.zeros(16, 24, 3)), r"have an image of uint8 \[16, 24, 3\]"),
        (
            of_prompt(image=torch.zeros(8, 12, 3, dtype=torch.uint8)),
            r"have an image of uint8 \[16, 24, 3\]",
        ),
        (
            of_clip(lambda clip: attrs.evolve(clip, waveform=clip.waveform.repeat(2, 1))),
            r"give sound \[1, 8000\] at 8000 Hz \(example 0: \[2, 8000\]",
        ),
        (of_prompt(voice=torch.zeros(9)), r"have a voice of finite float32 \[1, samples\]"),
        (of_prompt(voice=torch.zeros(2, 9)), r"have a voice of finite float32 \[1, samples\]"),
        (of_prompt(voice=NOTHING), r"have a voice of finite float32 \[1, samples\]"),
        (of_events(0.5), "have a tuple of Events"),
        (of_events(Event(0.5, "")), "have a tuple of Events"),
        (
            of_events(Event(0.5, "two"), Event(0.2, "one")),
            "in order, and within the 1 s of its clip",
        ),
        (of_events(Event(1.2, "late")), "in order, and within the 1 s of its clip"),
    ],
)
def test_a_broken_data_set_is_rejected(spec: Broken, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_data(spec, FORMAT)


def test_the_wrapper_silent_clips_and_some_unreadable_examples_pass() -> None:
    check_data(Broken(), FORMAT)
    check_data(of_clip(lambda clip: attrs.evolve(clip, waveform=None)), FORMAT)
    check_data(
        Broken(
            lambda example, index, generator: (
                example if index == 3 else _unreadable(example, index, generator)
            )
        ),
        FORMAT,
    )

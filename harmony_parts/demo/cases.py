"""What the demo asks of a model: held-out cases of the model's own scenes, chosen by rule."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial

import attrs
from torch import Tensor

from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import Format
from harmony_parts.bench.cases import SETS
from harmony_parts.data.protocol import Example
from harmony_parts.data.soundstage import Soundstage, SoundstageSet
from harmony_parts.errors import RunError
from harmony_parts.generate.request import Request
from harmony_parts.media.clip import Clip
from harmony_parts.scenes.protocol import StageScene

SPEECH = "speech"  # the set in which there is nothing but people who talk


@attrs.frozen(eq=False)
class Asked:
    """A held-out case, and what is asked of the model with it.

    `truth` is the clip that the case has, None if nobody knows what is right; `known` says which
    part of it is given. `voice` is the given voice. `eventful`: its sync can be measured by events.
    """

    task: str
    set: str
    name: str
    request: Request
    truth: Clip | None
    known: str = ""
    voice: Clip | None = None
    eventful: bool = False


class HeldOut:
    """The held-out cases of each scene that a model was trained on; each is taken once, in order.

    Sets are named as those of `harmony bench`. Single scenes beside sets, which draw them too, have
    no cases of their own. Raises RunError if the model's data aren't scenes.
    """

    def __init__(self, recipe: Recipe, seconds: float | None = None) -> None:
        if not isinstance(recipe.data, Soundstage):
            raise RunError(
                f"{recipe.name}: the demo shows truth beside its clips, which only models of"
                f" soundstage have; this one was trained on {recipe.data!r}"
            )
        self.format = attrs.evolve(recipe.format, seconds=seconds or recipe.format.seconds)
        scenes: dict[str, StageScene] = {}
        for scene in recipe.data.scenes:
            scenes.setdefault(_set(scene), scene)
        names = [name for name in scenes if name in SETS] or [*scenes]
        self.sets: dict[str, SoundstageSet] = {name: self._data(scenes[name]) for name in names}
        self._next = dict.fromkeys(self.sets, 0)

    def _data(self, scene: StageScene) -> SoundstageSet:
        return Soundstage(scenes=(scene,), held_out=True).build(format=self.format)

    def take(self, name: str) -> Example:
        """The next case of a set. Raises IndexError after the last one."""
        index = self._next[name]
        self._next[name] += 1
        return self.sets[name].example(index)

    def spoken(self) -> Iterator[tuple[str, Example]]:
        """(set, case) of the cases in which one person speaks, of the first set that has any."""
        for name, data in self.sets.items():
            if data.example(0).prompt.speech:
                cases = (self.take(name) for _ in range(len(data)))
                return ((name, case) for case in cases if _speakers(case) == 1)
        return iter(())


def _set(scene: StageScene) -> str:
    """The name of a scene's set."""
    names = (name for name, known in SETS.items() if type(known) is type(scene))
    return next(names, type(scene).__name__.lower())


def _speakers(case: Example) -> int:
    return 0 if case.truth is None else len(set(case.truth.speakers))


def chosen(recipe: Recipe, *, joint: int, driven: int, spoken: int, continued: int) -> list[Asked]:
    """The first held-out cases: `joint` of each set, `driven` of each direction, `spoken` and
    `continued`.

    The sets take turns in driven cases. A spoken case comes twice: in the voice of its speaker,
    and in that of the next case's. A model without such scenes has none.
    """
    cases = HeldOut(recipe)
    found = [ask_joint(name, cases.take(name)) for name in cases.sets for _ in range(joint)]
    turn = itertools.cycle(cases.sets)
    for ask in (_sound_given, _video_given):
        for name in itertools.islice(turn, driven):
            found.append(ask(name, cases.take(name)))
    voices = cases.spoken()
    for name, case in itertools.islice(voices, spoken):
        found.append(_in_voice(name, case, case, cases.format))
        for _, other in itertools.islice(voices, 1):
            found.append(_in_voice(name, case, other, cases.format))
    first = next(iter(cases.sets))
    longer = HeldOut(recipe, 2 * recipe.format.seconds)
    goes_on = partial(_goes_on, first, format=recipe.format)
    return found + [goes_on(longer.take(first)) for _ in range(continued)]


def _name(case: Example) -> str:
    return case.name.removesuffix("-held-out")


def _words(case: Example) -> Request:
    prompt = case.prompt
    return Request(prompt=prompt.caption, sound=prompt.sound, speech=prompt.speech)


def ask_joint(name: str, case: Example) -> Asked:
    """Both streams, from the words alone."""
    # a word is an event too, but no flash: metrics of events say nothing of a mouth
    eventful = bool(case.events) and name != SPEECH
    return Asked("joint", name, _name(case), _words(case), case.clip, eventful=eventful)


def _sound_given(name: str, case: Example) -> Asked:
    asked = attrs.evolve(ask_joint(name, case), task="audio-driven", known="its sound is given")
    given = attrs.evolve(case.clip, frames=None)
    return attrs.evolve(asked, request=attrs.evolve(asked.request, audio=given))


def _video_given(name: str, case: Example) -> Asked:
    asked = attrs.evolve(ask_joint(name, case), task="video-driven", known="its picture is given")
    given = attrs.evolve(case.clip, waveform=None)
    return attrs.evolve(asked, request=attrs.evolve(asked.request, video=given))


def _in_voice(name: str, case: Example, speaker: Example, format: Format) -> Asked:
    """The transcript of a case, said by the speaker of a case, whose voice is given."""
    said = speaker.prompt.voice
    assert isinstance(said, Tensor)
    voice = Clip(waveform=said, sample_rate=format.sample_rate)
    request = attrs.evolve(_words(speaker), speech=case.prompt.speech, voice=voice)
    same = case is speaker
    return Asked(
        "speech",
        name,
        _name(case) if same else f"{_name(case)}-by-{_name(speaker)}",
        request,
        case.clip if same else None,
        voice=voice,
    )


def _goes_on(name: str, case: Example, format: Format) -> Asked:
    """The end of a longer case, from its beginning and its words."""
    asked = ask_joint(name, case)
    begun = format.frames
    frames = begun + format.frames - asked.request.overlap_frames(format)
    return attrs.evolve(
        asked,
        task="continuation",
        request=attrs.evolve(asked.request, begin=_cut(case.clip, begun, format)),
        truth=_cut(case.clip, frames, format),
        known=f"its first {format.seconds:g} s are given",
    )


def _cut(clip: Clip, frames: int, format: Format) -> Clip:
    assert clip.frames is not None
    assert clip.waveform is not None
    sound = clip.waveform[:, : format.samples(frames)]
    return attrs.evolve(clip, frames=clip.frames[:frames], waveform=sound)

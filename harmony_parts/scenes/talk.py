"""One person talks, or two take turns: words, phonemes, mouths and voices are known."""

from __future__ import annotations

import attrs
import numpy as np

from harmony_parts.av import Event, Phoneme
from harmony_parts.plugin import knob
from harmony_parts.scenes.canvas import WALLS, Canvas, Colour, pick
from harmony_parts.scenes.face import Face
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.pen import Pose
from harmony_parts.scenes.phones import LANGUAGES
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.scenes.utterance import Utterance, compose
from harmony_parts.scenes.voice import VOICES, Voice

FIRST, LAST = 0.15, 0.1  # s before the first and after the last word
BLINK = 0.16  # s
LOW = 150.0  # Hz: voices below it may have beards


def _languages(instance: object, attribute: object, names: tuple[str, ...]) -> None:
    if not names or set(names) - LANGUAGES.keys():
        raise ValueError(f"languages: choose one or more of {', '.join(LANGUAGES)}, not {names}")


@attrs.frozen
class Talk:
    """People who talk: random faces, voices and words, and heads that move."""

    languages: tuple[str, ...] = knob(
        tuple(LANGUAGES), help="languages of the words", converter=tuple, validator=_languages
    )
    pairs: float = knob(
        0.35,
        help="share of takes with two people who take turns",
        off=0.0,
        validator=attrs.validators.and_(attrs.validators.ge(0), attrs.validators.le(1)),
    )
    motion: float = knob(1.0, help="how much heads move", off=0.0, validator=attrs.validators.ge(0))
    room: bool = knob(True, help="light the wall behind them", off=False)

    def draw(self, rng: np.random.Generator, seconds: float, rhythm: Rhythm) -> TalkTake:
        """A random conversation of `seconds`, without a word if the rhythm is silent."""
        people = 2 if rng.uniform() < self.pairs else 1
        order = rng.permutation(len(VOICES))[:people]
        voices = tuple(_natural(rng, VOICES[k]) for k in order)
        faces = tuple(Face.draw(rng, voice.pitch < LOW) for voice in voices)
        take = TalkTake(
            faces,
            voices,
            self.languages[rng.integers(len(self.languages))],
            pick(rng, WALLS),
            (Utterance(),) * people,
            tuple(float(each) for each in rng.uniform(0, 1, people)),
            self.motion,
            seconds,
            self.room,
        )
        return take if rhythm.silent else take._saying(rng, seconds)


def _natural(rng: np.random.Generator, voice: Voice) -> Voice:
    """The voice of another person of the same kind."""
    return attrs.evolve(
        voice,
        pitch=voice.pitch * rng.uniform(0.94, 1.06),
        tract=voice.tract * rng.uniform(0.97, 1.03),
        tempo=voice.tempo * rng.uniform(0.95, 1.1),
    )


@attrs.frozen(eq=False)
class TalkTake:
    """One or two `faces` with their `voices` and what each says in `language`.

    `phases` 0 to 1 shift the movements of each head, which are `motion` strong. Without a `room`,
    the wall is left as it is.
    """

    faces: tuple[Face, ...]
    voices: tuple[Voice, ...]
    language: str
    backdrop: tuple[str, Colour]
    said: tuple[Utterance, ...]
    phases: tuple[float, ...]
    motion: float
    seconds: float
    room: bool = True

    def _saying(self, rng: np.random.Generator, seconds: float) -> TalkTake:
        """Everybody in turn, for about as long."""
        words, people = LANGUAGES[self.language], len(self.faces)
        start = FIRST + rng.uniform(0, 0.15 * seconds)
        edges = np.linspace(start, seconds - LAST, people + 1)
        if people == 2:
            edges[1] += rng.uniform(-0.1, 0.1) * seconds
        said = tuple(
            compose(rng, words, edges[k] + 0.12 * (k > 0), edges[k + 1], self.voices[k].tempo)
            for k in range(people)
        )
        return attrs.evolve(self, said=said, seconds=seconds)

    def again(self, rng: np.random.Generator, seconds: float) -> TalkTake:
        """The first speaker alone, with other words."""
        alone = attrs.evolve(
            self, faces=self.faces[:1], voices=self.voices[:1], phases=self.phases[:1]
        )
        return alone._saying(rng, seconds)

    @property
    def wall(self) -> Colour:
        """The colour of the wall."""
        return self.backdrop[1]

    def places(self) -> tuple[float, ...]:
        """The middle of each head."""
        return (0.5,) if len(self.faces) == 1 else (0.26, 0.74)

    @property
    def events(self) -> list[Event]:
        """The beginning of each word, at the speaker's mouth."""
        return [
            Event(word.start, word.word.text, (x, 0.6))
            for x, utterance in zip(self.places(), self.said, strict=True)
            for word in utterance.words
        ]

    @property
    def transcript(self) -> str:
        """The words in the order of speaking; a new line for a new speaker."""
        return "\n".join(utterance.text for utterance in self.said if utterance.words)

    @property
    def phonemes(self) -> list[Phoneme]:
        """All phonemes."""
        return [
            Phoneme(start, end, name, speaker)
            for speaker, utterance in enumerate(self.said)
            for start, end, name in utterance.phones()
        ]

    @property
    def speakers(self) -> tuple[str, ...]:
        """The kind of each voice."""
        return tuple(voice.name for voice in self.voices)

    @property
    def caption(self) -> str:
        """The caption of the picture."""
        who = " and ".join(face.caption for face in self.faces)
        if not any(utterance.words for utterance in self.said):
            does = "is silent" if len(self.faces) == 1 else "are silent"
        else:
            does = "talks" if len(self.faces) == 1 else "talk in turn"
        where = f", in front of a {self.backdrop[0]} wall" if self.room else ""
        return f"{who} {does}{where}"

    @property
    def sound_caption(self) -> str:
        """The caption of the sound."""
        if not any(utterance.words for utterance in self.said):
            return "silence"
        says = "says" if len(self.voices) == 1 else "say"
        voices = " and then ".join(self.speakers)
        return f"{voices} {says} something in {self.language}"

    def mouth(self, times: np.ndarray) -> np.ndarray:
        """The opening of each mouth at `times` [N]: [speakers, N]."""
        return np.stack([utterance.mouth(times)[0] for utterance in self.said])

    def picture(self, canvas: Canvas) -> None:
        """Draw all frames."""
        if self.room:
            canvas.vignette()
        alone = len(self.faces) == 1
        for k, (face, x) in enumerate(zip(self.faces, self.places(), strict=True)):
            t = canvas.middle
            opening, width = self.said[k].mouth(t)
            phase = 2 * np.pi * self.phases[k]
            sway = self.motion * np.sin(2 * np.pi * 0.45 * t + phase)
            turn = self.motion * 0.035 * np.sin(2 * np.pi * 0.31 * t + 2 * phase)
            nod = self.motion * (0.012 * np.sin(2 * np.pi * 0.8 * t + 3 * phase) + 0.012 * opening)
            if not alone:  # they look at each other
                turn = turn + (0.03, -0.03)[k]
            scale = 1.0 if alone else 0.74
            y = 0.46 if alone else 0.48
            pose = Pose(x + 0.012 * sway, y + 0.3 * nod, scale, turn, nod, x, y)
            face.picture(canvas, pose, opening, width, self._blink(t, self.phases[k]))

    def _blink(self, t: np.ndarray, phase: float) -> np.ndarray:
        """How far the eyes are shut, 0 to 1: once in about 1.7 s."""
        away = np.abs(np.mod(t + 1.7 * phase, 1.7) - 0.85)
        return np.clip(1 - away / (BLINK / 2), 0, 1)

    def sound(self, mixer: Mixer) -> None:
        """Each voice says its words."""
        for voice, utterance, x in zip(self.voices, self.said, self.places(), strict=True):
            voice.say(utterance, mixer, x)

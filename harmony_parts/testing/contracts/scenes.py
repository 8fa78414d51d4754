"""Contract check of scenes."""

from __future__ import annotations

from typing import Any

import numpy as np

from harmony_parts.av import STREAMS, Event, Format
from harmony_parts.scenes.canvas import Canvas
from harmony_parts.scenes.mixer import Mixer
from harmony_parts.scenes.protocol import Spoken, StageScene, Take
from harmony_parts.scenes.rhythm import Rhythm
from harmony_parts.testing.contracts.require import check_value, require

FORMATS = (
    Format(fps=12, height=16, width=16, sample_rate=8000, seconds=2.0),
    Format(fps=24, height=40, width=64, sample_rate=16000, seconds=2.0),
)


def check_scene(scene: StageScene, *, takes: int = 6, seconds: float = 2.0) -> None:
    """Check the contract of scenes on that many random takes.

    The scene is compared by value. A take is determined by the state of the generator and drawn
    from it alone; its events are in order, within the clip and within the picture's streams; its
    texts are words; a silent rhythm gives no event. Its picture and sound are determined by the
    take, finite, and of the right shape; each channel has sound if and only if there are events
    that are heard, or words; the mean of two channels is the mono mix. Another performance keeps
    the caption of what makes the sound, and has sound. Raises PartContractError.
    """
    check_value(scene)
    state = repr(np.random.get_state())  # noqa: NPY002
    for seed in range(takes):
        take = scene.draw(np.random.default_rng(seed), seconds, Rhythm())
        _check_texts(scene, take)
        _check_events(scene, take, seconds)
        again = scene.draw(np.random.default_rng(seed), seconds, Rhythm())
        for format in FORMATS:
            _check_streams(scene, take, again, format)
        _check_heard(scene, take.again(np.random.default_rng(seed), 1.0), 1.0)
        if isinstance(take, Spoken):
            _check_speech(scene, take, seconds)
    quiet = scene.draw(np.random.default_rng(0), seconds, Rhythm(silent=True))
    require(not list(quiet.events), scene, "have no events in a take with a silent rhythm")
    untouched = state == repr(np.random.get_state())  # noqa: NPY002
    require(
        untouched, scene, "draw from the generator that it is passed, not from numpy's global one"
    )


def _check_texts(scene: Any, take: Take) -> None:
    texts = take.caption, take.sound_caption
    require(
        all(isinstance(text, str) and text.strip() for text in texts),
        scene,
        f"have words in `caption` and `sound_caption`, not {texts}",
    )
    right = len(take.wall) == 3 and all(0 <= each <= 1 for each in take.wall)
    require(right, scene, f"have a colour of three numbers from 0 to 1 in `wall`, not {take.wall}")


def _check_events(scene: Any, take: Take, seconds: float) -> None:
    events = list(take.events)
    typed = all(isinstance(each, Event) and each.what for each in events)
    require(typed, scene, "have Events in `events`, each with a word for `what`")
    times = [each.time for each in events]
    require(
        times == sorted(times) and all(0 <= time < seconds for time in times),
        scene,
        f"have its events in order, and within its {seconds:g} s; they are at {times}",
    )
    known = all(each.streams and set(each.streams) <= set(STREAMS) for each in events)
    require(known, scene, "have events of known streams")


def _check_streams(scene: Any, take: Take, again: Take, format: Format) -> None:
    """The picture and the sound in a format, and those of the same take drawn again."""
    frames, samples = format.frames, format.samples(format.frames)
    pictures, sounds = [], []
    for each in (take, again):
        canvas = Canvas(frames, format.height, format.width, float(format.fps), each.wall)
        each.picture(canvas)
        pictures.append(canvas.frames())
        require(np.isfinite(canvas.image).all(), scene, "draw finite colours")
        sounds.append(_sound(each, samples, format.sample_rate))
    wanted = (frames, format.height, format.width, 3)
    require(pictures[0].shape == wanted, scene, f"leave the canvas with frames {list(wanted)}")
    require(np.isfinite(sounds[0]).all(), scene, "add finite sound")
    same = (pictures[0] == pictures[1]).all() and (sounds[0] == sounds[1]).all()
    require(
        same,
        scene,
        "give the same take for the same state of the generator, and the same clip for it",
    )
    two = _sound(take, samples, format.sample_rate, channels=2).astype(np.float64)
    # Clipping acts on each channel, so only unclipped samples are compared; 2^-20 covers the
    # rounding of a few dozen sounds of float32 in [-2, 2].
    free = (np.abs(two) < 1).all(0)
    close = np.abs(two.mean(0) - sounds[0][0])[free].max(initial=0) < 2**-20
    require(close, scene, "sound the same in the mean of two channels as in one")


def _check_heard(scene: Any, take: Take, seconds: float) -> None:
    loud = np.abs(_sound(take, round(16000 * seconds), 16000)).max() > 0.02
    require(loud, scene, "have sound in another performance (`again`), for a reference audio")


def _check_speech(scene: Any, take: Any, seconds: float) -> None:
    words, people = take.transcript, len(take.speakers)
    said = isinstance(words, str) and bool(words.strip()) == bool(list(take.phonemes))
    require(said, scene, "have words in `transcript`, if and only if it has phonemes")
    spans = [(each.start, each.end) for each in take.phonemes]
    right = all(0 <= start < end <= seconds for start, end in spans) and spans == sorted(spans)
    require(right, scene, f"have its phonemes in order, and within its {seconds:g} s")
    known = all(0 <= each.speaker < people for each in take.phonemes)
    require(known, scene, f"have phonemes of its {people} speakers")
    mouth = take.mouth(np.linspace(0, seconds, 50))
    right = mouth.shape == (people, 50) and mouth.min() >= 0 and mouth.max() <= 1
    require(right, scene, f"give the opening of {people} mouths, 0 to 1, as [speakers, N]")


def _sound(take: Take, samples: int, rate: int, channels: int = 1) -> np.ndarray:
    mixer = Mixer(samples, rate, np.random.default_rng(0), channels)
    take.sound(mixer)
    return mixer.sound()

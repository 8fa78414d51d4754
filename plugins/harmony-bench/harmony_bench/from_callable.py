"""Numbers of any function from a clip, for models that can't be packaged here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from math import isfinite
from typing import Any

import attrs
import torch

from harmony_parts.av import AV, Event
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.plugin import knob

READS = {"both": ("video", "audio"), "video": ("video",), "audio": ("audio",)}

Function = Callable[[Clip, Reference], Mapping[str, float]]
"""From a clip and what it should contain to named numbers."""


@attrs.frozen
class FromCallable:
    """What `call(clip, reference)` returns: a mapping of names to numbers; NaN is left out.

    The clip has the streams that are read. If it reads both, it is called for re-paired clips too,
    N x N times, cut to the shorter of the two; `reference` is empty then. It must give the same
    numbers for the same clip, and is imported with the metric, so it loads its network once, with
    `functools.cache` say.
    """

    call: str = knob(help='"module:callable"', validator=attrs.validators.min_len(1))
    streams: str = knob(
        "both",
        help='what it reads: "both", "video" or "audio"',
        validator=attrs.validators.in_(tuple(READS)),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric; the function chooses its device. Raises BrokenPart if there is none."""
        module, _, name = self.call.partition(":")
        try:
            function: Any = import_module(module)
            for part in name.split("."):
                function = getattr(function, part)
        except (ImportError, AttributeError, ValueError) as error:
            raise BrokenPart(
                f'call: {self.call!r} can\'t be imported as "module:callable": {error}'
            ) from error
        if not callable(function):
            raise BrokenPart(f"call: {self.call!r} can't be called: it is {function!r}")
        return Called(self, function, READS[self.streams])


@attrs.frozen(eq=False)
class Called:
    """The metric of `FromCallable`. An analysis is the stream itself."""

    spec: FromCallable
    call: Function
    reads: tuple[str, ...]

    def analyse(self, clip: Clip) -> AV[Clip]:
        """Each stream alone."""
        video, audio = (name in self.reads for name in ("video", "audio"))
        return AV(
            attrs.evolve(clip, waveform=None) if video and clip.frames is not None else None,
            attrs.evolve(clip, frames=None) if audio and clip.waveform is not None else None,
        )

    def score(
        self,
        video: Clip | None,
        audio: Clip | None,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """The finite numbers that it returns; none for a clip that is shorter than a frame."""
        clip = together(video, audio)
        if clip is None:
            return {}
        found = self.call(clip, reference or Reference())
        return {name: float(value) for name, value in found.items() if isfinite(value)}


def together(video: Clip | None, audio: Clip | None) -> Clip | None:
    """Picture and sound as a clip, cut to the shorter one; None if that has no frame."""
    if video is None or audio is None:
        return video or audio
    seconds = min(video.seconds, audio.seconds)
    frames, samples = round(seconds * video.fps), round(seconds * audio.sample_rate)
    if not frames or not samples:
        return None
    return Clip(video.frames[:frames], video.fps, audio.waveform[:, :samples], audio.sample_rate)

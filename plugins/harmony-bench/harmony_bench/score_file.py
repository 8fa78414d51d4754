"""Numbers that were computed elsewhere, by whatever model, read from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path, PurePath
from typing import Any

import attrs
import torch

from harmony_parts.av import AV, Event
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.plugin import knob


@attrs.frozen
class ScoreFile:
    """The numbers of a clip's line in a JSONL file: `{"file": "speech/hello.mp4", "musiq": 68.2}`.

    `file` is the clip's name, or its end: "hello.mp4" is that of "out/speech/hello.mp4" too, and
    the longer end wins. Other fields are numbers, or null. Re-paired clips have none, so there is
    no chance to compare with.
    """

    file: str = knob(help="JSONL file of scores", validator=attrs.validators.min_len(1))
    stream: str = knob(
        "video",
        help='the stream that clips must have: "video" or "audio"',
        validator=attrs.validators.in_(("video", "audio")),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric. Raises BrokenPart, by line, if the file can't be read."""
        return Looked(self, read_scores(Path(self.file)), (self.stream,))


def read_scores(file: Path) -> dict[tuple[str, ...], dict[str, float]]:
    """Parts of a clip's path -> its numbers."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BrokenPart(f"{file}: the file of scores can't be read: {error}") from error
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            name, numbers = _line(line, f"{file}, line {number}")
            if name in found:
                raise BrokenPart(f"{file}, line {number}: {'/'.join(name)} has a line already")
            found[name] = numbers
    return found


def _line(line: str, where: str) -> tuple[tuple[str, ...], dict[str, float]]:
    try:
        fields: Any = json.loads(line)
    except ValueError as error:
        raise BrokenPart(f"{where}: this isn't JSON: {error}") from error
    if not isinstance(fields, Mapping) or not isinstance(fields.get("file"), str):
        raise BrokenPart(f'{where}: it must be an object with "file", the name of a clip')
    numbers = {}
    for name, value in fields.items():
        if name == "file" or value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise BrokenPart(f"{where}: {name} must be a finite number, not {value!r}")
        numbers[name] = float(value)
    return PurePath(fields["file"]).parts, numbers


@attrs.frozen(eq=False)
class Looked:
    """The metric of `ScoreFile`; it looks at no clip."""

    spec: ScoreFile
    scores: Mapping[tuple[str, ...], dict[str, float]]
    reads: tuple[str, ...]

    def analyse(self, clip: Clip) -> AV[bool]:
        """Whether there is the stream."""
        return AV(
            "video" in self.reads and clip.frames is not None or None,
            "audio" in self.reads and clip.waveform is not None or None,
        )

    def score(
        self,
        video: Any,
        audio: Any,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """The numbers of the line whose `file` is the longest end of the clip's name."""
        parts = PurePath((reference and reference.name) or "").parts
        ends = (parts[k:] for k in range(len(parts)))
        return dict(next((self.scores[end] for end in ends if end in self.scores), {}))

    def reason(self, video: Any, audio: Any, reference: Reference | None = None) -> str:
        """That there is no line, if so."""
        if self.score(video, audio, None, reference):
            return ""
        return f"{self.spec.file} has no number for it"

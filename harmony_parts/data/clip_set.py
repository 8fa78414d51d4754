"""A data set of recordings: random cuts of media files, or of members of tar archives."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import attrs
import torch
from torch import Tensor

from harmony_parts.av import Format, Prompt
from harmony_parts.data.protocol import Example
from harmony_parts.errors import MediaError
from harmony_parts.media.clip import Clip
from harmony_parts.media.probe import probe


@attrs.frozen
class Entry:
    """A recording, with the texts of its prompt.

    `span` is (offset, size) of its bytes in the file `path`, if that is a tar archive.
    """

    name: str
    path: Path
    caption: str | None = None
    sound: str | None = None
    speech: str | None = None
    span: tuple[int, int] | None = None

    def content(self) -> bytes:
        """The bytes in the archive. Raises OSError."""
        assert self.span is not None
        with self.path.open("rb") as file:
            file.seek(self.span[0])
            return file.read(self.span[1])

    @contextmanager
    def file(self) -> Iterator[Path]:
        """A file with the recording: itself, or a temporary one of a name that we choose.

        Errors of reading it get its own name.
        """
        if self.span is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="harmony-") as folder:
            copy = Path(folder, "member").with_suffix(Path(self.name).suffix)
            try:
                copy.write_bytes(self.content())
                yield copy
            except MediaError as error:
                text = str(error).replace(str(copy), f"{self.path}: {self.name}")
                raise MediaError(text) from error
            except OSError as error:
                raise MediaError(f"{self.path}: {self.name}: {error}") from error


class Cutting(Protocol):
    """The settings that cuts depend on."""

    @property
    def voice_seconds(self) -> tuple[float, float]: ...
    @property
    def memory_mb(self) -> float: ...
    @property
    def streams(self) -> tuple[str, ...]: ...


class ClipSet:
    """A data set with one example per recording.

    A cut is `format.frames` frames long and begins at a random frame. A shorter recording is
    extended with its last frame and silence, since all latents of a batch have the same length. The
    model learns these static endings too, so train on short recordings with a short format.
    """

    def __init__(
        self,
        spec: Cutting,
        format: Format,
        entries: tuple[Entry, ...],
        unreadable: Mapping[int, str],
    ) -> None:
        self.spec = spec
        self.format = format
        self.entries = entries
        self.unreadable = unreadable
        self._read: OrderedDict[Entry, tuple[Tensor | None, Tensor | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the examples; no file is read."""
        return tuple(entry.name for entry in self.entries)

    def size(self, index: int) -> int:
        """The recording's size in bytes. Raises OSError."""
        entry = self.entries[index]
        return entry.path.stat().st_size if entry.span is None else entry.span[1]

    def digest(self, index: int) -> str:
        """The SHA-256 of the recording's bytes. Raises OSError."""
        entry = self.entries[index]
        if entry.span is not None:
            return hashlib.sha256(entry.content()).hexdigest()
        with entry.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def fingerprint(self, index: int) -> str:
        """The recording's texts and its digest, as JSON. Raises OSError."""
        entry = self.entries[index]
        texts = [entry.name, entry.caption, entry.sound, entry.speech]
        return json.dumps([*texts, self.digest(index)])

    def listing(self) -> Iterator[str]:
        """Name, texts and size of each recording, as JSON; the size of a missing file is null."""
        for number, entry in enumerate(self.entries):
            try:
                size: int | None = self.size(number)
            except OSError:
                size = None
            yield json.dumps([entry.name, entry.caption, entry.sound, entry.speech, size])

    def extent(self, index: int) -> tuple[float | None, int | None, int | None]:
        """Seconds, height and width, from the headers. Raises MediaError."""
        with self.entries[index].file() as path:
            found = probe(path)
        seconds = None if found.seconds is None else float(found.seconds)
        if found.video is None:
            return seconds, None, None
        return seconds, found.video.height, found.video.width

    def example(self, index: int, generator: torch.Generator) -> Example:
        """A cut; image: its first frame, voice: a cut of the recording's sound.

        Raises MediaError naming the file.
        """
        entry, form = self.entries[index], self.format
        frames, sound = self._decoded(entry)
        length = len(frames) if frames is not None else _frames(sound, form)
        # Three draws for any file, so that its length doesn't affect the following examples.
        cut, voice, position = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        first = int(cut * (max(0, length - form.frames) + 1))
        clip = self._cut(frames, sound, first)
        prompt = Prompt(
            entry.caption,
            entry.sound,
            entry.speech,
            image=None if clip.frames is None else clip.frames[0].clone(),
            voice=None if sound is None else self._voice(sound, voice, position),
        )
        return Example(entry.name, clip, prompt, seconds=float(length / form.fps))

    def _cut(self, frames: Tensor | None, sound: Tensor | None, first: int) -> Clip:
        form, pictures, waveform = self.format, None, None
        if frames is not None:
            # indexing copies, and repeats the last frame
            numbers = torch.arange(first, first + form.frames).clamp(max=len(frames) - 1)
            pictures = frames[numbers]
        if sound is not None:
            begin = form.samples(first)
            piece = sound[:, begin : begin + form.samples(form.frames)]
            waveform = torch.zeros(form.channels, form.samples(form.frames))
            waveform[:, : piece.shape[1]] = piece
        return Clip(pictures, form.fps, waveform, form.sample_rate)

    def _voice(self, sound: Tensor, length: float, position: float) -> Tensor:
        shortest, longest = self.spec.voice_seconds
        samples = min(
            sound.shape[1],
            max(1, round((shortest + (longest - shortest) * length) * self.format.sample_rate)),
        )
        begin = int(position * (sound.shape[1] - samples + 1))
        return sound[:, begin : begin + samples].clone()

    def _decoded(self, entry: Entry) -> tuple[Tensor | None, Tensor | None]:
        """The whole recording in the model's format: frames uint8 [T, H, W, 3], sound float32
        [channels, samples]; a stream that isn't asked for is `None`.

        The whole file is cached since it is small in the model's format and slow to decode: 12
        frames/s of 64 x 112 pixels are 0.3 MB per second; a cut of 4 s takes 0.6 ms from memory,
        and 0.2 to 0.9 s from a file of 3 to 13 s (thirteen real clips). Cut films into scenes
        beforehand.
        """
        if entry in self._read:
            self._read.move_to_end(entry)
            return self._read[entry]
        form, streams = self.format, self.spec.streams
        picture = {"fps": form.fps, "height": form.height, "width": form.width}
        with entry.file() as path:
            clip = Clip.read(
                path,
                **(picture if "video" in streams else {}),  # type: ignore[arg-type]
                sample_rate=form.sample_rate if "audio" in streams else None,
                channels=form.channels if "audio" in streams else None,
                streams=streams,
            )
            silent = clip.waveform is None or not clip.waveform.shape[1]
            for stream, missing in (("video", clip.frames is None), ("audio", silent)):
                if missing and stream in streams:
                    raise MediaError(lacks(path, stream))
        decoded = clip.frames, clip.waveform
        room = self.spec.memory_mb * 1e6 - _bytes(decoded)
        if room >= 0:
            while sum(map(_bytes, self._read.values())) > room:
                self._read.popitem(last=False)
            self._read[entry] = decoded
        return decoded


def lacks(path: Path, stream: str) -> str:
    """The fault of a file without a stream that the data set needs."""
    what = "picture" if stream == "video" else "sound"
    return f"{path}: has no {what}; remove it, or change $.data.streams"


def _frames(sound: Tensor | None, form: Format) -> int:
    """How many whole frames a sound lasts."""
    assert sound is not None
    return max(1, int(sound.shape[1] * form.fps / form.sample_rate))


def _bytes(decoded: tuple[Tensor | None, Tensor | None]) -> int:
    return sum(tensor.nbytes for tensor in decoded if tensor is not None)

"""A data set of recordings: random cuts of media files, or of members of tar archives."""

from __future__ import annotations

import hashlib
import json
import os
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
from harmony_parts.references.protocol import Piece, Recordings, VoiceReference


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
    speaker: str | None = None
    span: tuple[int, int] | None = None

    @property
    def origin(self) -> str:
        """What tells the recording's sound from others."""
        path = os.path.normpath(self.path)
        return path if self.span is None else f"{path}:{self.span[0]}"

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
    def reference(self) -> VoiceReference: ...
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
        lengths: Mapping[Path, float] | None = None,
    ) -> None:
        """`lengths`: the seconds of each file, if they are known; others are looked up."""
        self.spec = spec
        self.format = format
        self.entries = entries
        self.unreadable = unreadable
        self.recordings = Recordings(
            [entry.origin for entry in entries],
            [entry.speaker for entry in entries],
            self._seconds,
        )
        self._lengths = lengths or {}
        self._decoding = -1, 0.0  # the recording that is decoded now, and its seconds
        self._digests: dict[tuple[str, int, int], str] = {}
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
        now = entry.path.stat()
        key = (entry.origin, now.st_mtime_ns, now.st_size)
        if key not in self._digests:
            with entry.path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[key]

    def fingerprint(self, index: int) -> str:
        """The recording's texts, its digest, and those of its speaker's other recordings, from
        which its reference may come, as JSON. Raises OSError.
        """
        entry = self.entries[index]
        texts = [entry.name, entry.caption, entry.sound, entry.speech]
        files = [index, *self.recordings.others_of_speaker(index)]
        return json.dumps([*texts, *map(self.digest, files)])

    def listing(self) -> Iterator[str]:
        """Name, texts and size of each recording, as JSON; the size of a missing file is null."""
        for number, entry in enumerate(self.entries):
            try:
                size: int | None = self.size(number)
            except OSError:
                size = None
            texts = [entry.caption, entry.sound, entry.speech, entry.speaker]
            yield json.dumps([entry.name, *texts, size])

    def extent(self, index: int) -> tuple[float | None, int | None, int | None]:
        """Seconds, height and width, from the headers. Raises MediaError."""
        with self.entries[index].file() as path:
            found = probe(path)
        seconds = None if found.seconds is None else float(found.seconds)
        if found.video is None:
            return seconds, None, None
        return seconds, found.video.height, found.video.width

    def _seconds(self, number: int) -> float:
        """The length of a recording: by its header, or as it was decoded."""
        path = self.entries[number].path
        if path in self._lengths:
            return self._lengths[path]
        if self._decoding[0] == number:
            return self._decoding[1]
        seconds, *_ = self.extent(number)
        if seconds is None:  # as browsers record: the sound has to be read
            with self.entries[number].file() as file:
                return Clip.read(file, streams={"audio"}).seconds
        return seconds

    def example(self, index: int, generator: torch.Generator) -> Example:
        """A cut; image: its first frame, voice: what the setting `reference` draws, if anything.

        Raises MediaError naming the file.
        """
        entry, form = self.entries[index], self.format
        frames, sound = self._decoded(entry)
        length = len(frames) if frames is not None else _frames(sound, form)
        self._decoding = index, float(length / form.fps)
        # As many draws for any file, so that its length doesn't affect the following examples.
        cut = float(torch.rand((), generator=generator, dtype=torch.float64))
        first = int(cut * (max(0, length - form.frames) + 1))
        clip = self._cut(frames, sound, first)
        end = float(min(first + form.frames, length) / form.fps)
        origin = Piece(index, float(first / form.fps), end)
        voice, reference = self._voice(origin, sound, generator)
        prompt = Prompt(
            entry.caption,
            entry.sound,
            entry.speech,
            image=None if clip.frames is None else clip.frames[0].clone(),
            voice=voice,
        )
        return Example(
            entry.name,
            clip,
            prompt,
            origin=origin,
            reference=reference,
            seconds=self._decoding[1],
        )

    def texts(self, index: int) -> dict[str, str | None]:
        """Those of the manifest."""
        entry = self.entries[index]
        return {"caption": entry.caption, "sound": entry.sound, "speech": entry.speech}

    def _voice(
        self, origin: Piece, sound: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor | None, Piece | None]:
        """The reference audio of a clip and where it was cut from, if there is one."""
        if sound is None:
            return None, None
        found = self.spec.reference.draw(origin, self.recordings, generator)
        if found is None:
            return None, None
        if self.entries[found.recording].origin == self.entries[origin.recording].origin:
            voice = sound[:, slice(*found.samples(self.format.sample_rate))].clone()
        else:
            voice = self.sound(found)
        return (voice, found) if voice.shape[1] else (None, None)

    def sound(self, piece: Piece) -> Tensor:
        """The sound of a piece, float32 [channels, samples]; only that piece is decoded.

        Raises MediaError naming the file.
        """
        with self.entries[piece.recording].file() as path:
            clip = Clip.read(
                path,
                sample_rate=self.format.sample_rate,
                channels=self.format.channels,
                start=piece.begin,
                seconds=piece.seconds,
                streams={"audio"},
            )
            if clip.waveform is None:
                raise MediaError(lacks(path, "audio"))
        return clip.waveform

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

    def _decoded(self, entry: Entry) -> tuple[Tensor | None, Tensor | None]:
        """The whole recording in the model's format: frames uint8 [T, H, W, 3], sound float32
        [channels, samples]; a stream that isn't read is `None`.

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

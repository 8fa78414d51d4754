"""A data set of a folder of media files, with captions from a manifest."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import torch
from torch import Tensor

from harmony_parts.av import Format, Prompt
from harmony_parts.data.captions import text_warnings, texts_beside
from harmony_parts.data.protocol import Example
from harmony_parts.errors import AssemblyError, MediaError, warn_caller
from harmony_parts.media.clip import Clip
from harmony_parts.media.probe import probe
from harmony_parts.plugin import default_part, knob
from harmony_parts.references.protocol import Piece, Recordings, VoiceReference

MANIFEST = "manifest.csv"
EXTENSIONS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")


@attrs.frozen
class ClipFolder:
    """Random cuts of the media files of a folder, with captions, first frame and a voice.

    The manifest is a CSV file (UTF-8) with the column `file` (relative to the folder) and the
    optional columns `caption` (or, without it, `what`), `sound` (a caption of the sound),
    `transcript` (the spoken words) and `speaker` (any name of who speaks). Empty cells are unknown;
    other columns are ignored. The texts describe the whole file, and apply to every cut of it.
    Without a manifest, all files with one of `extensions` are used, also in subfolders, with the
    texts beside them: the caption from NAME.txt or NAME.caption, all texts from NAME.json (the keys
    are those of the manifest's columns). A manifest wins over these files. Warns if clips have no
    text, and if files of texts are unused.

    Every file is opened when the data set is built (13 clips: 0.5 s on two cores). So files that
    can't be read, or lack picture or sound, are reported before training and left out of it. Raises
    AssemblyError without a folder. Raises MediaError for an invalid manifest (naming the line or
    the missing files), or if no file can be used (naming the cause of each).
    """

    manifest: str = knob(
        MANIFEST,
        help="file name of the manifest in the folder, if it has one; empty uses all files",
        off="",
    )
    extensions: tuple[str, ...] = knob(
        EXTENSIONS,
        help="suffixes of the files to use without a manifest",
        converter=lambda names: tuple("." + name.lower().removeprefix(".") for name in names),
        validator=attrs.validators.min_len(1),
    )
    reference: VoiceReference = knob(
        default_part("harmony_parts.references.own_cut:OwnCut"),
        help="where the voice of a clip is cut from",
        source="Harmony, arXiv:2511.21579, stage 1",
    )
    memory_mb: float = knob(
        1024.0,
        help="memory for decoded files; the least recently used are dropped first",
        unit="MB (10^6 bytes)",
        off=0.0,
        validator=attrs.validators.ge(0),
    )

    def build(self, *, format: Format, root: Path | None = None) -> ClipFolderSet:
        """The data set of the folder `root`."""
        if root is None:
            raise AssemblyError(
                "$.data: clips are read from a folder: pass --data DIR (in Python: root=DIR)"
            )
        root = Path(root)
        if not root.is_dir():
            raise MediaError(
                f"{root}:"
                f" {'is a file, not a folder of clips' if root.exists() else 'no such folder'};"
                " pass --data DIR"
            )
        manifest = root / self.manifest
        if self.manifest and manifest.is_file():
            entries, cause = tuple(_from_manifest(root, manifest)), f"{manifest} lists no files"
        elif self.manifest in ("", MANIFEST):
            entries, cause = (
                tuple(_from_folder(root, self.extensions)),
                f"{root}: no files ending in {', '.join(self.extensions)}",
            )
        else:
            raise MediaError(
                f'{manifest}: no such manifest; correct $.data.manifest, or set it to "" to use all'
                " files"
            )
        if not entries:
            raise MediaError(f"{cause}; a data set needs at least one")
        chosen = manifest if self.manifest and manifest.is_file() else None
        for line in text_warnings(entries, chosen):
            warn_caller(line)
        missing = [str(entry.path) for entry in entries if not entry.path.is_file()]
        if missing:
            raise MediaError(f"{manifest} lists missing files: {', '.join(missing)}")
        probed = _probed(entries)
        faults = {path: fault for path, fault in probed.items() if isinstance(fault, str)}
        unreadable = {
            number: faults[entry.path]
            for number, entry in enumerate(entries)
            if entry.path in faults
        }
        if len(unreadable) == len(entries):
            listed = "\n".join(f"  {fault}" for fault in faults.values())
            raise MediaError(
                f"{root}: none of its files can be used ({len(faults)} in all):\n{listed}"
            )
        lengths = {path: 0.0 if isinstance(x, str) else x for path, x in probed.items()}
        return ClipFolderSet(self, format, entries, unreadable, lengths)


@attrs.frozen
class Entry:
    """A file, with the texts of its prompt."""

    name: str
    path: Path
    caption: str | None = None
    sound: str | None = None
    speech: str | None = None
    speaker: str | None = None


def _probed(entries: Sequence[Entry]) -> dict[Path, str | float]:
    """File -> its seconds by its header, or why it can't be used; a thread per ffmpeg."""
    paths = list(dict.fromkeys(entry.path for entry in entries))
    with ThreadPoolExecutor(min(len(paths), 2 * (os.cpu_count() or 1))) as pool:
        return dict(zip(paths, pool.map(_seconds, paths), strict=True))


def _seconds(path: Path) -> str | float:
    try:
        found = probe(path)
        if not (found.video and found.audio):
            return _lacks(path, "sound" if found.video else "picture")
        if found.seconds is None:  # as browsers record: the sound has to be read
            return Clip.read(path, streams={"audio"}).seconds
    except MediaError as error:
        return str(error)
    return float(found.seconds)


def _lacks(path: Path, stream: str) -> str:
    return f"{path}: has no {stream}; clips need both"


def _from_folder(root: Path, extensions: tuple[str, ...]) -> Iterator[Entry]:
    """The media files of a folder, sorted by name, without hidden ones."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if (
            path.suffix.lower() in extensions
            and path.is_file()
            and not any(piece.startswith(".") for piece in name.parts)
        ):
            yield Entry(name.as_posix(), path, *texts_beside(path))


def _from_manifest(root: Path, manifest: Path) -> Iterator[Entry]:
    """The files of a manifest, in its order."""
    try:
        # "utf-8-sig" also reads the byte order mark that spreadsheets write.
        with manifest.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, skipinitialspace=True, strict=True)
            columns = reader.fieldnames = [column.strip() for column in reader.fieldnames or ()]
            if "file" not in columns:
                raise MediaError(
                    f"{manifest}: has no column `file`; its first line names"
                    f" {', '.join(columns) or 'no columns'}"
                )
            caption = "caption" if "caption" in columns else "what"
            for row in reader:
                where = f"{manifest}, line {reader.line_num}"
                if None in row:
                    raise MediaError(
                        f"{where}: has more cells than columns; put text that holds a comma in"
                        ' "double quotes"'
                    )
                name = (row["file"] or "").strip()
                texts = [
                    (row.get(column) or "").strip() or None
                    for column in (caption, "sound", "transcript", "speaker")
                ]
                yield Entry(name, _inside(root, name, where), *texts)
    except (UnicodeDecodeError, csv.Error) as error:
        raise MediaError(f"{manifest}: isn't a CSV file in UTF-8: {error}") from error
    except OSError as error:
        raise MediaError(f"{manifest}: can't be read: {error.strerror}") from error


def _inside(root: Path, name: str, where: str) -> Path:
    """root / name, if `name` stays inside the folder; the user's own links are followed."""
    inside = os.path.normpath(name)
    if (
        inside == "."
        or Path(inside).parts[0] == ".."
        or Path(inside).is_absolute()
        or Path(inside).drive
    ):
        raise MediaError(
            f"{where}: file {name!r} isn't a file in the data folder; give its path relative to"
            f" {root}"
        )
    return root / inside


class ClipFolderSet:
    """The data set of `ClipFolder`, with one example per file.

    A cut is `format.frames` frames long and begins at a random frame. A shorter file is extended
    with its last frame and silence, since all latents of a batch have the same length. The model
    learns these static endings too, so train on short files with a short format.
    """

    def __init__(
        self,
        spec: ClipFolder,
        format: Format,
        entries: tuple[Entry, ...],
        unreadable: Mapping[int, str],
        lengths: Mapping[Path, float],
    ) -> None:
        self.spec = spec
        self.format = format
        self.entries = entries
        self.unreadable = unreadable
        self.recordings = Recordings(
            [os.path.normpath(entry.path) for entry in entries],
            [entry.speaker for entry in entries],
            lambda number: lengths[entries[number].path],
        )
        self._read: OrderedDict[Path, tuple[Tensor, Tensor]] = OrderedDict()
        self._digests: dict[tuple[Path, int, int], str] = {}

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the examples; no file is read."""
        return tuple(entry.name for entry in self.entries)

    def fingerprint(self, index: int) -> str:
        """The file's texts, and digests of its content and of its speaker's other files, from which
        its reference may come, as JSON. Raises OSError.
        """
        entry = self.entries[index]
        texts = [entry.name, entry.caption, entry.sound, entry.speech]
        files = [index, *self.recordings.others_of_speaker(index)]
        return json.dumps([*texts, *(self._digest(self.entries[n].path) for n in files)])

    def _digest(self, path: Path) -> str:
        now = path.stat()
        key = (path, now.st_mtime_ns, now.st_size)
        if key not in self._digests:
            with path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[key]

    def example(self, index: int, generator: torch.Generator) -> Example:
        """A cut; image: its first frame, voice: what the setting `reference` draws, if anything.

        Raises MediaError naming the file.
        """
        entry, form = self.entries[index], self.format
        frames, sound = self._decoded(entry.path)
        # As many draws for any file, so that its length doesn't affect the following examples.
        cut = float(torch.rand((), generator=generator, dtype=torch.float64))
        first = int(cut * (max(0, len(frames) - form.frames) + 1))
        # indexing copies, and repeats the last frame
        pictures = frames[torch.arange(first, first + form.frames).clamp(max=len(frames) - 1)]
        begin = form.samples(first)
        piece = sound[:, begin : begin + form.samples(form.frames)]
        waveform = torch.zeros(form.channels, form.samples(form.frames))
        waveform[:, : piece.shape[1]] = piece
        clip = Clip(pictures, form.fps, waveform, form.sample_rate)
        origin = Piece(
            index,
            float(first / form.fps),
            float(min(first + form.frames, len(frames)) / form.fps),
        )
        reference = self.spec.reference.draw(origin, self.recordings, generator)
        voice = None
        if reference is not None and self.entries[reference.recording].path == entry.path:
            voice = sound[:, slice(*reference.samples(form.sample_rate))].clone()
        elif reference is not None:
            voice = self.sound(reference)
        if voice is None or not voice.shape[1]:
            voice = reference = None
        prompt = Prompt(
            entry.caption, entry.sound, entry.speech, image=pictures[0].clone(), voice=voice
        )
        return Example(entry.name, clip, prompt, origin=origin, reference=reference)

    def sound(self, piece: Piece) -> Tensor:
        """The sound of a piece, float32 [channels, samples]; only that piece is decoded.

        Raises MediaError naming the file.
        """
        path = self.entries[piece.recording].path
        clip = Clip.read(
            path,
            sample_rate=self.format.sample_rate,
            channels=self.format.channels,
            start=piece.begin,
            seconds=piece.seconds,
            streams={"audio"},
        )
        if clip.waveform is None:
            raise MediaError(_lacks(path, "sound"))
        return clip.waveform

    def _decoded(self, path: Path) -> tuple[Tensor, Tensor]:
        """The whole file in the model's format: frames uint8 [T, H, W, 3], sound float32 [channels,
        samples].

        The whole file is cached since it is small in the model's format and slow to decode: 12
        frames/s of 64 x 112 pixels are 0.3 MB per second; a cut of 4 s takes 0.6 ms from memory,
        and 0.2 to 0.9 s from a file of 3 to 13 s (thirteen real clips). Cut films into scenes
        beforehand.
        """
        if path in self._read:
            self._read.move_to_end(path)
            return self._read[path]
        form = self.format
        clip = Clip.read(
            path,
            fps=form.fps,
            height=form.height,
            width=form.width,
            sample_rate=form.sample_rate,
            channels=form.channels,
        )
        if clip.frames is None or clip.waveform is None or not clip.waveform.shape[1]:
            raise MediaError(
                f"{_lacks(path, 'picture' if clip.frames is None else 'sound')}: remove it from the"
                " folder or the manifest"
            )
        decoded = clip.frames, clip.waveform
        room = self.spec.memory_mb * 1e6 - _bytes(decoded)
        if room >= 0:
            while sum(map(_bytes, self._read.values())) > room:
                self._read.popitem(last=False)
            self._read[path] = decoded
        return decoded


def _bytes(decoded: tuple[Tensor, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in decoded)

"""A data set of a folder of media files, with captions from a manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from harmony_parts.av import Format
from harmony_parts.data.captions import text_warnings, texts_beside
from harmony_parts.data.clip_set import ClipSet, Entry, lacks
from harmony_parts.data.clip_settings import (
    extensions_knob,
    memory_knob,
    reference_knob,
    streams_knob,
    suffixes,
)
from harmony_parts.data.manifests import READERS, read_manifest
from harmony_parts.errors import AssemblyError, MediaError, warn_caller
from harmony_parts.media.clip import Clip
from harmony_parts.media.probe import probe
from harmony_parts.plugin import knob
from harmony_parts.references.protocol import VoiceReference

MANIFEST = "manifest.csv"
RECIPE = "recipe.toml"  # in the folder of a run or a model, whose clips were generated


@attrs.frozen
class ClipFolder:
    """Random cuts of the media files of a folder, with captions, first frame and a voice.

    The manifest is a CSV file (UTF-8), JSON Lines (.jsonl) or Parquet (with pyarrow), by its
    suffix, with the column `file` (relative to the folder) and the optional columns `caption` (or,
    without it, `what`), `sound` (a caption of the sound), `transcript` (the spoken words) and
    `speaker` (any name of who speaks). Empty cells are unknown; other columns are ignored. The
    texts describe the whole file, and apply to every cut of it. Without a manifest, all files with
    one of `extensions` are used, also in subfolders, with the texts beside them: the caption from
    NAME.txt or NAME.caption, all texts from NAME.json (the keys are those of the manifest's
    columns). A manifest wins over these files. Warns if clips have no text, and if files of texts
    are unused.

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
    extensions: tuple[str, ...] = extensions_knob()
    streams: tuple[str, ...] = streams_knob()
    reference: VoiceReference = reference_knob()
    memory_mb: float = memory_knob()
    check: bool = knob(
        True,
        help=(
            "open every file when the data set is built; without it, bad files are found when they"
            " are read"
        ),
        off=False,
    )

    def build(self, *, format: Format, root: Path | None = None) -> ClipSet:
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
        manifest = self._manifest(root)
        extensions = suffixes(self.extensions, self.streams)
        if manifest is not None and manifest.is_file():
            entries, cause = tuple(read_manifest(root, manifest)), f"{manifest} lists no files"
        elif self.manifest in ("", MANIFEST):
            entries, cause = (
                tuple(_from_folder(root, extensions)),
                f"{root}: no files ending in {', '.join(extensions)}",
            )
            manifest = None
        else:
            raise MediaError(
                f'{manifest}: no such manifest; correct $.data.manifest, or set it to "" to use all'
                " files"
            )
        if not entries and (root / "prepared.json").is_file():
            raise MediaError(f"{root}: has prepared clips; read them with --set source.use=shards")
        if not entries:
            raise MediaError(f"{cause}; a data set needs at least one")
        for line in text_warnings(entries, manifest):
            warn_caller(line)
        missing = [str(entry.path) for entry in entries if not entry.path.is_file()]
        if missing:
            raise MediaError(f"{manifest} lists missing files: {', '.join(missing)}")
        probed = _probed(entries, self.streams) if self.check else {}
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
        return ClipSet(self, format, entries, unreadable, lengths)

    def _manifest(self, root: Path) -> Path | None:
        """The manifest to read: the one that is named, or MANIFEST in any of its formats."""
        if not self.manifest:
            return None
        if self.manifest == MANIFEST:
            names = (Path(MANIFEST).with_suffix(suffix) for suffix in READERS)
            return next((root / name for name in names if (root / name).is_file()), root / MANIFEST)
        return root / self.manifest


def _probed(entries: Sequence[Entry], streams: Sequence[str]) -> dict[Path, str | float]:
    """File -> its seconds by its header, or why it can't be used; a thread per ffmpeg."""
    paths = list(dict.fromkeys(entry.path for entry in entries))
    with ThreadPoolExecutor(min(len(paths), 2 * (os.cpu_count() or 1))) as pool:
        found = pool.map(lambda path: _seconds(path, streams), paths)
        return dict(zip(paths, found, strict=True))


def _seconds(path: Path, streams: Sequence[str]) -> str | float:
    try:
        found = probe(path)
        has = {"video": found.video, "audio": found.audio}
        for stream in streams:
            if has[stream] is None:
                return lacks(path, stream)
        if found.seconds is None:  # as browsers record: the sound has to be read
            return Clip.read(path, streams=set(streams[-1:])).seconds
    except MediaError as error:
        return str(error)
    return float(found.seconds)


def _from_folder(root: Path, extensions: tuple[str, ...]) -> Iterator[Entry]:
    """The media files of a folder, sorted by name, without hidden ones and those of a run."""
    runs = {file.parent for file in root.rglob(RECIPE)} - {root}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if (
            path.suffix.lower() in extensions
            and path.is_file()
            and not any(piece.startswith(".") for piece in name.parts)
            and runs.isdisjoint(path.parents)
        ):
            yield Entry(name.as_posix(), path, *texts_beside(path))

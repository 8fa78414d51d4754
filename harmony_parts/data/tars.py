"""A data set of webdataset archives: tar files whose members with one key are one example."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import attrs

from harmony_parts.av import Format
from harmony_parts.data.captions import CAPTIONS, Texts, texts_of
from harmony_parts.data.clip_set import ClipSet, Entry
from harmony_parts.data.clip_settings import (
    extensions_knob,
    memory_knob,
    reference_knob,
    streams_knob,
    suffixes,
)
from harmony_parts.errors import AssemblyError, MediaError
from harmony_parts.references.protocol import VoiceReference

PICKLES = (".pickle", ".pkl", ".pt", ".pth", ".pyd")  # what webdataset would run
TEXTS = (*CAPTIONS, ".json")


@attrs.frozen
class ClipTars:
    """Random cuts of the media files in tar archives, as webdataset writes them.

    Members KEY.mp4, KEY.txt, KEY.json are one example; what the texts mean is as for the data set
    `clips`. The archives are the .tar files of the folder, also in subfolders, or the one file that
    --data names. Nothing is unpacked: a clip's bytes are copied into a temporary file for FFmpeg,
    whose name isn't the archive's. Raises MediaError, naming archive and member, if a member's path
    is absolute or leads out of the archive, is a link or a device, or is a pickle, which a loader
    might run; AssemblyError without a folder.
    """

    extensions: tuple[str, ...] = extensions_knob()
    streams: tuple[str, ...] = streams_knob()
    reference: VoiceReference = reference_knob()
    memory_mb: float = memory_knob()

    def build(self, *, format: Format, root: Path | None = None) -> ClipSet:
        """List the members of all archives; clips that can't be read are found later."""
        if root is None:
            raise AssemblyError(
                "$.data: archives are read from a folder: pass --data DIR (in Python: root=DIR)"
            )
        root = Path(root)
        archives = [root] if root.is_file() else sorted(root.rglob("*.tar"))
        if not archives:
            raise MediaError(f"{root}: no .tar archives; a data set needs at least one")
        extensions = suffixes(self.extensions, self.streams)
        base = root.parent if root.is_file() else root
        entries = tuple(
            entry
            for archive in archives
            for entry in _entries(archive, archive.relative_to(base).as_posix(), extensions)
        )
        if not entries:
            raise MediaError(
                f"{root}: its archives have no members ending in {', '.join(extensions)}"
            )
        return ClipSet(self, format, entries, {})


def _entries(archive: Path, label: str, extensions: tuple[str, ...]) -> Iterator[Entry]:
    """The examples of an archive, in the order of their media files."""
    media: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(archive, "r:") as tar:
            for member in tar:
                if member.isdir():
                    continue
                name = _checked(archive, member)
                key = str(name.with_name(name.name.partition(".")[0]))
                suffix = name.suffix.lower()
                if suffix in extensions:
                    media.setdefault(key, member)
                elif suffix in TEXTS:
                    texts.setdefault(key, {})[suffix] = _content(tar, member)
    except (tarfile.TarError, OSError) as error:
        raise MediaError(f"{archive}: can't be read as a tar archive: {error}") from error
    for key, member in media.items():
        beside = _texts(texts.get(key, {}), f"{archive}: {key}")
        span = member.offset_data, member.size
        yield Entry(f"{label}/{member.name}", archive, *beside, span=span)


def _checked(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """The name of a member. Raises MediaError if it is hostile."""
    name = PurePosixPath(member.name)
    where = f"{archive}: {member.name!r}"
    if name.is_absolute() or ".." in name.parts or "\\" in member.name or "\0" in member.name:
        raise MediaError(f"{where}: leads out of the archive; the archive isn't used")
    if not member.isreg():
        raise MediaError(f"{where}: is a link or a device; the archive isn't used")
    if name.suffix.lower() in PICKLES:
        raise MediaError(
            f"{where}: is a pickle, which runs code when a loader reads it; remove it from the"
            " archive"
        )
    return name


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _texts(files: Mapping[str, bytes], where: str) -> Texts:
    return texts_of(lambda suffix: files.get(suffix), lambda suffix: f"{where}{suffix}")

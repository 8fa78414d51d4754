"""Sampling takes minutes to hours, and a disk can be full: check first, and keep what was made."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harmony_parts.errors import HarmonyError, MediaError
from harmony_parts.media.files import disk_of

if TYPE_CHECKING:
    from harmony_parts.av import Format
    from harmony_parts.generate.generated import Generated
    from harmony_parts.generate.request import Request

VIDEO = 1 / 200  # bytes of an encoded frame, as a share of its pixels': little even for H.264
SPARE = 1 << 20  # bytes for the sidecar, and the container itself


def check_room(out: Path, format: Format, request: Request) -> None:
    """Raise MediaError, naming the disk, if it has no room for the clip while it is written.

    Its sound lies beside it uncompressed (4 bytes a sample) until the file is complete.
    """
    seconds = float(request.seconds or format.seconds)
    sound = 4 * format.channels * format.sample_rate * seconds
    picture = VIDEO * 3 * format.height * format.width * float(format.fps) * seconds
    needed = int(sound + picture) + SPARE
    disk = disk_of(out.parent)
    free = shutil.disk_usage(disk).free
    if free < needed:
        raise MediaError(
            f"{out}: needs about {needed / 1e6:,.0f} MB while it is written, and the disk"
            f" {disk} has {free / 1e6:,.1f} MB left; make room, or write to another"
            " disk"
        )


def keep(generated: Generated, name: str) -> str:
    """Save a clip that couldn't be written where it should be; returns words that say where."""
    for place in (Path(tempfile.gettempdir()), Path.home()):
        try:
            folder = Path(tempfile.mkdtemp(prefix="harmony-", dir=place))
        except OSError:
            continue
        try:
            return f"; the clip is kept as {generated.save(folder / name)}"
        except (HarmonyError, OSError):  # ffmpeg itself, or a second full disk
            pass
        try:
            return f"; the clip is kept as {_tensors(generated, folder / f'{name}.safetensors')}"
        except (HarmonyError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
    return "; what was generated couldn't be kept anywhere"


def _tensors(generated: Generated, file: Path) -> str:
    """Write a clip as tensors, which needs no ffmpeg."""
    from harmony_parts.models.tensor_files import save_tensors

    clip = generated.clip
    tensors = {"frames": clip.frames, "waveform": clip.waveform}
    save_tensors(file, {name: tensor for name, tensor in tensors.items() if tensor is not None})
    return (
        f"{file} (its frames at {float(clip.fps):g} fps and its waveform at {clip.sample_rate} Hz:"
        " `Clip(**safetensors.torch.load_file(FILE), fps=..., sample_rate=...).save(...)` writes"
        " it)"
    )

"""A generated clip, and the files it can be saved to. Importing this imports no torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.display.html import box, player
from harmony_parts.errors import MediaError

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

    from harmony_parts.media.clip import Clip

SOUND_ONLY = (".wav", ".flac")
SUFFIXES = (".mp4", ".mkv", ".webm", ".gif", *SOUND_ONLY)
INLINE = 16 << 20  # bytes of the largest file that plays in a notebook, which stores it
SMALLEST = 320  # pixels: narrower videos are shown enlarged


@attrs.frozen(eq=False)
class Generated:
    """A generated clip, with the files it was generated for. It has what a `Clip` has to read.

    `save` copies the video stream of `given_video` and the sound of `given_sound`;
    `lossless_sound` keeps a given sound from being compressed.
    """

    clip: Clip
    given_video: Path | None = None
    given_sound: Path | None = None
    lossless_sound: bool = False

    @property
    def frames(self) -> Tensor | None:
        """uint8 [T, H, W, 3], as in `Clip`."""
        return self.clip.frames

    @property
    def fps(self) -> Fraction:
        """Frames per second."""
        return self.clip.fps

    @property
    def waveform(self) -> Tensor | None:
        """float32 [channels, samples], as in `Clip`."""
        return self.clip.waveform

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.clip.sample_rate

    @property
    def seconds(self) -> float:
        """Duration of the frames, or of the sound if there are no frames."""
        return self.clip.seconds

    def mono(self) -> Tensor:
        """[samples] float32: the mean of the channels. Raises ValueError without sound."""
        return self.clip.mono()

    def numpy(self) -> tuple[ndarray[Any, Any] | None, ndarray[Any, Any] | None]:
        """(frames, waveform) as numpy arrays, as `Clip.numpy`."""
        return self.clip.numpy()

    def __repr__(self) -> str:
        """The clip, in words, and the files it was generated for."""
        streams = ("video", self.given_video), ("sound", self.given_sound)
        given = "".join(f", with the {name} of {file}" for name, file in streams if file)
        return f"Generated({self.clip!r}{given})"

    def _repr_html_(self) -> str:
        """In a notebook: a player, up to a size; beyond it some frames above the waveform."""
        # encoded anew, since a given file may be of a kind that browsers don't play
        kind = "audio/flac" if self.frames is None else "video/mp4"
        with tempfile.TemporaryDirectory() as folder:
            try:
                file = self.clip.save(Path(folder, f"clip.{kind.partition('/')[2]}"))
            except (MediaError, OSError) as error:
                return box(f"{self!r} can't be played: {error}", self.clip._repr_html_())
            media = file.read_bytes()
        if len(media) > INLINE:
            size = f"{len(media) / 1e6:.0f} MB"
            why = f"is too large ({size}) to play here; save it as a file"
            return box(f"{self!r} {why}", self.clip._repr_html_())
        width = 0 if self.frames is None else max(SMALLEST, self.frames.shape[2])
        return box(repr(self), player(media, kind, width))

    def save(
        self, path: str | os.PathLike[str], *, metadata: Mapping[str, str] | None = None
    ) -> Path:
        """Write the clip: a given stream is copied, or a given sound kept without loss.

        `.wav` and `.flac` take only a generated sound; `metadata` as for `Clip.save`. Raises
        MediaError, naming file and cause, if the file can't be written.
        """
        path = Path(path)
        if path.suffix.lower() in SOUND_ONLY and self.given_sound is None:
            return self.clip.save(path)
        return self.clip.save(
            path,
            copy_video_from=self.given_video,
            copy_sound_from=self.given_sound,
            lossless_sound=self.lossless_sound,
            metadata=metadata,
        )

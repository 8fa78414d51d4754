"""A generated clip, and the files it can be saved to. Importing this imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from harmony_parts.media.clip import Clip

SOUND_ONLY = (".wav", ".flac")
SUFFIXES = (".mp4", ".mkv", ".webm", ".gif", *SOUND_ONLY)


@attrs.frozen(eq=False)
class Generated:
    """A generated clip, with the files it was generated for.

    `save` copies the video stream of `given_video` and the sound of `given_sound`;
    `lossless_sound` keeps a given sound from being compressed.
    """

    clip: Clip
    given_video: Path | None = None
    given_sound: Path | None = None
    lossless_sound: bool = False

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

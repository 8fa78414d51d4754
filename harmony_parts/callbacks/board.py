"""Clips and their numbers for TensorBoard."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from harmony_parts.callbacks.tensorboard import writer_class
from harmony_parts.media.clip import Clip

PICTURES = 6  # frames of a clip that are shown side by side


class Board:
    """Writes clips into a folder of their own, which TensorBoard shows as a run of its own.

    A folder with two writers at once would be read in part only. Later steps than `step` are
    hidden. Raises RunError if the package tensorboard isn't installed.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step, self._class = folder, step, writer_class()
        self._writer: Any = None

    def add(
        self, step: int, clips: Sequence[Clip], scores: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Add the clips of a step, and their numbers, those of chance beside them."""
        if self._writer is None:
            self._writer = self._class(str(self.folder), purge_step=self.step + 1)
        for number, clip in enumerate(clips):
            self._add_clip(f"clip {number}", clip, step)
        for name, found in scores.items():
            for key, title in (("paired", name), ("repaired", f"{name} by chance")):
                if key in found:
                    self._writer.add_scalar(title, found[key], step)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left. Raises nothing."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()

    def _add_clip(self, name: str, clip: Clip, step: int) -> None:
        if clip.frames is not None:
            shown = torch.linspace(0, len(clip.frames) - 1, PICTURES).round().long()
            strip = torch.cat(list(clip.frames[shown]), 1)
            self._writer.add_image(f"{name}/pictures", strip.numpy(), step, dataformats="HWC")
            self._add_video(f"{name}/video", clip, step)
        if clip.waveform is not None:
            sound = clip.mono().clamp(-1, 1)[None]
            self._writer.add_audio(f"{name}/sound", sound, step, sample_rate=clip.sample_rate)

    def _add_video(self, name: str, clip: Clip, step: int) -> None:
        """As an animated GIF, which is a picture to TensorBoard.

        torch's `add_video` would need moviepy to write the same.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary

        assert clip.frames is not None
        _, height, width, _ = clip.frames.shape
        with tempfile.TemporaryDirectory() as folder:
            silent = Clip(frames=clip.frames, fps=clip.fps)
            gif = silent.save(Path(folder, "clip.gif")).read_bytes()
        picture = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        summary = Summary(value=[Summary.Value(tag=name, image=picture)])
        self._writer._get_file_writer().add_summary(summary, step)

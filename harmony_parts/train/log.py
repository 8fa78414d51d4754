"""What a run shows on stderr: a progress bar or plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harmony_parts.report.pace import Pace
from harmony_parts.report.text import bytes_text
from harmony_parts.train.flops import Utilisation

INTERVAL = 5.0  # seconds between plain lines


class Log:
    """The display of a run in `folder`.

    With `progress` it shows a bar with the time left on a terminal, and otherwise a plain line at
    most every INTERVAL seconds. `clips`: how many a step trains on, 0 if it isn't shown.
    `utilisation` is shown once the run has lasted for INTERVAL seconds: counting takes one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        step: int,
        steps: int,
        progress: bool,
        clips: int = 0,
        utilisation: Utilisation | None = None,
    ) -> None:
        self.folder, self.step, self.steps, self.progress = folder, step, steps, progress
        self.clips, self.utilisation = clips, utilisation
        self._began = time.monotonic()
        self.console = Console(stderr=True)
        self._bar: Progress | None = None
        self._last_line = -INTERVAL

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line on stderr, even without `progress`: for what the user has to know."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            warn(text)

    def track(self, numbers: Iterable[int], total: int) -> Iterator[int]:
        """The numbers, with a bar or plain lines for the work before the first step."""
        if not self.progress:
            yield from numbers
        elif not self.console.is_terminal:
            pace = Pace("preparing clips", self.say)
            for done, number in enumerate(numbers):
                yield number
                pace.update(done + 1, total)
        else:
            columns = (
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=self.console, transient=True) as bar:
                yield from bar.track(numbers, total=total, description="preparing clips")

    def advance(self, step: int, loss: float) -> None:
        """Show the step and its loss in the bar."""
        self.step = step
        if not (self.progress and self.console.is_terminal):
            return
        if self._bar is None:
            columns = (
                "{task.description}",
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}"),
                TextColumn("{task.fields[pace]}"),
            )
            self._bar = Progress(
                *columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self.console
            )
            self._task = self._bar.add_task(
                "training", total=self.steps, completed=step - 1, loss=loss, pace=""
            )
            self._bar.start()
        self._bar.update(self._task, completed=step, loss=loss)

    def show(self, record: Mapping[str, Any]) -> None:
        """Show a record's pace in the bar, or print it as a line."""
        if self._bar is not None:
            self._bar.update(self._task, pace=self._pace(record))
        if (
            self.progress
            and not self.console.is_terminal
            and (time.monotonic() - self._last_line >= INTERVAL or record["step"] >= self.steps)
        ):
            self._last_line = time.monotonic()
            self.say(self._line(record))

    def _line(self, record: Mapping[str, Any]) -> str:
        """A record as one line for people."""
        left = (self.steps - record["step"]) * record["seconds_per_step"]
        parts = ", ".join(f"{name} {value:.4f}" for name, value in record["losses"].items())
        minutes, seconds = divmod(round(left), 60)
        pace = f"{self._pace(record)}, {minutes} min {seconds} s left"
        return f"step {record['step']}/{self.steps}: loss {record['loss']:.4f} ({parts}), {pace}"

    def _pace(self, record: Mapping[str, Any]) -> str:
        """Seconds a step, clips and FLOP a second, and the most memory that was used."""
        seconds = record["seconds_per_step"]
        rate = f"{self.clips / seconds:.1f} clips/s" if self.clips and seconds else ""
        flops = ""
        if self.utilisation is not None and time.monotonic() - self._began >= INTERVAL:
            flops = self.utilisation.text(seconds)
        return ", ".join(filter(None, (f"{seconds:.3f} s a step", rate, flops, _peak_memory())))


def _peak_memory() -> str:
    """Of the GPU, if one is used, else of this process; "" where it isn't known."""
    devices = range(torch.cuda.device_count())  # the run's needn't be the current one
    if peak := max((torch.cuda.max_memory_allocated(device) for device in devices), default=0):
        return f"{bytes_text(peak)} of GPU memory"
    try:
        import resource
    except ImportError:  # on Windows
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{bytes_text(peak * (1 if sys.platform == 'darwin' else 1024))} of memory"


def warn(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr, flush=True)

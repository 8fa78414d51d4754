"""A data set without its unreadable clips: each is reported once and replaced by another."""

from __future__ import annotations

from collections.abc import Callable

import torch

from harmony_parts.data.protocol import Dataset, Example, HasUnreadable
from harmony_parts.errors import MediaError, RunError

# consecutive clips that fail before the disk, not the clips, is blamed
MAX_FAILURES = 8


class Readable:
    """A data set in which the next readable example replaces one that raises MediaError.

    The replacement depends only on which files are unreadable, and a failed attempt leaves
    `generator` as it was, so a resumed run gets the same clips. `unreadable` has the cause for each
    unreadable number, in the order in which they were noticed; `warn` gets a line for each.
    """

    def __init__(self, dataset: Dataset, warn: Callable[[str], None]) -> None:
        self.dataset, self.warn = dataset, warn
        self.unreadable: dict[int, str] = (
            dict(dataset.unreadable) if isinstance(dataset, HasUnreadable) else {}
        )
        if self.unreadable:
            listed = "".join(f"\n  {cause}" for cause in self.unreadable.values())
            warn(
                f"{len(self.unreadable)} of {len(dataset)} clips can't be used and are"
                f" skipped:{listed}"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def example(self, index: int, generator: torch.Generator) -> Example:
        """The example `index`, or the next readable one.

        Raises MediaError if MAX_FAILURES consecutive clips can't be read, RunError if none can.
        """
        state, failures = generator.get_state(), 0
        for number in ((index + k) % len(self) for k in range(len(self))):
            if number in self.unreadable:
                continue
            try:
                return self.dataset.example(number, generator)
            except MediaError as error:
                failures += 1
                if failures == MAX_FAILURES:
                    raise MediaError(
                        f"{error}\n{failures} clips in a row can't be read: is the disk still"
                        " connected?"
                    ) from error
                generator.set_state(state)
                self.unreadable[number] = str(error)
                self.warn(
                    f"{error}; this clip is skipped from now on ({len(self.unreadable)} of"
                    f" {len(self)} so far)"
                )
        raise RunError(
            f"none of the {len(self)} clips can be read; the last error:"
            f" {list(self.unreadable.values())[-1]}"
        )

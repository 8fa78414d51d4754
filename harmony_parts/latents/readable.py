"""Clips that can't be read are left out: each is named once, and another takes its place."""

from __future__ import annotations

from collections.abc import Callable

import torch

from harmony_parts.data.protocol import Dataset, Example, HasUnreadable
from harmony_parts.errors import MediaError, RunError

# clips that fail, one after the other, before it is the disk that is taken to have failed
IN_A_ROW = 8


class Readable:
    """A data set whose examples that raise MediaError are replaced by the next one that can be
    read.

    Which one that is depends on nothing but which files are bad, and a failed attempt leaves
    `generator` as it was; so a resumed run sees the same clips. `bad` holds the cause for each
    number that is known to be bad, in the order in which they were found.
    """

    def __init__(self, dataset: Dataset, tell: Callable[[str], None]) -> None:
        self.dataset, self.tell = dataset, tell
        self.bad: dict[int, str] = (
            dict(dataset.unreadable) if isinstance(dataset, HasUnreadable) else {}
        )
        if self.bad:
            listed = "".join(f"\n  {cause}" for cause in self.bad.values())
            tell(
                f"{len(self.bad)} of {len(dataset)} clips can't be used, and are left out:{listed}"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def example(self, index: int, generator: torch.Generator) -> Example:
        """See `Dataset`. Raises MediaError where many in a row can't be read, RunError where none
        can.
        """
        state, failed = generator.get_state(), 0
        for number in ((index + k) % len(self) for k in range(len(self))):
            if number in self.bad:
                continue
            try:
                return self.dataset.example(number, generator)
            except MediaError as error:
                failed += 1
                if failed == IN_A_ROW:
                    raise MediaError(
                        f"{error}\n{failed} clips in a row can't be read: is the disk still there?"
                    ) from error
                generator.set_state(state)
                self.bad[number] = str(error)
                self.tell(
                    f"{error}; this clip is left out from here on ({len(self.bad)} of {len(self)}"
                    " so far)"
                )
        raise RunError(
            f"none of the {len(self)} clips can be read; the last one:"
            f" {list(self.bad.values())[-1]}"
        )

"""A filter decides which examples are prepared: it analyses each stream by itself, then judges.

So the streams of different clips can be re-paired, which shows what the filter drops by chance.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from harmony_parts.av import AV
from harmony_parts.data.protocol import Example


class Filter(Protocol):
    """Judges examples. `reads` names the streams that the judgement depends on."""

    @property
    def reads(self) -> tuple[str, ...]:
        """ "video", "audio", both, or none (what is known about the file)."""

    def analyse(self, example: Example) -> AV[Any]:
        """What `fault` needs of each stream, each without the other; small, as it is kept.

        A stream that the clip lacks is absent. A filter that reads no stream may put what it needs
        in either.
        """

    def fault(self, video: Any, audio: Any) -> str | None:
        """Why a clip with these streams is dropped, `None` if it is kept.

        A stream that is absent is `None`. The reason is the same for all clips with that fault,
        without numbers, as it is counted.
        """


class FilterSpec(Protocol):
    """Settings of a filter."""

    def build(self, *, device: torch.device | str = "cpu") -> Filter:
        """The filter, its network (if any) on `device`."""

"""A metric looks at each stream alone, then at two of them together, so that the same outputs can
be re-paired to find out what chance gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from harmony_parts.av import AV
from harmony_parts.data.protocol import Event
from harmony_parts.media.clip import Clip


class Metric(Protocol):
    """How well sound and picture of a clip agree (and its own spec: plain settings, no weights)."""

    def analyse(self, clip: Clip) -> AV[Any]:
        """What the metric sees in the picture and hears in the sound, each without the other, of
        the streams that the clip has.

        Any clip will do: silent, black, of one frame, without a sample. It is left as it is.
        """

    def score(
        self, video: Any, audio: Any, truth: Sequence[Event] | None = None
    ) -> dict[str, float]:
        """Named numbers for a picture and a sound, which need not come from the same clip. A number
        that has no meaning here is left out.

        Those that are given without a truth are given with one as well, unchanged: for re-paired
        clips there is none. A metric may have `weights(numbers) -> {name: weight}` too: how much
        each number counts in a mean over clips (1 without it), so that a share of events is pooled
        over events.
        """

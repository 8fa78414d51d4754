"""The plain way beside a guidance."""

from __future__ import annotations

import pytest

from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.plain import plain_way
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG

TEXT, SYNC = CFG(audio=2.5), SyncCFG(video=2.0, audio=1.5)


@pytest.mark.parametrize(
    ("guidance", "plain"),
    [
        (SYNC, NoGuidance()),
        (TEXT, NoGuidance()),
        (NoGuidance(), NoGuidance()),
        (Sum((TEXT, SYNC)), TEXT),
        (Sum((SYNC, TEXT, CFG(video=4.0))), Sum((TEXT, CFG(video=4.0)))),
        (Sum((SYNC, SYNC)), NoGuidance()),
        (Sum((TEXT, TEXT)), NoGuidance()),
    ],
)
def test_it_has_what_a_sum_has_beside_sync_cfg(guidance, plain) -> None:
    assert plain_way(guidance) == plain

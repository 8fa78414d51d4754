"""The plain way that a guidance is compared with."""

from __future__ import annotations

from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.sum import Sum
from harmony_parts.guidance.sync_cfg import SyncCFG


def plain_way(guidance: Guidance) -> Guidance:
    """No guidance; of a sum with SyncCFG its other terms, so that SyncCFG alone is compared."""
    terms = guidance.terms if isinstance(guidance, Sum) else (guidance,)
    others = tuple(term for term in terms if not isinstance(term, SyncCFG))
    if not others or len(others) == len(terms):
        return NoGuidance()
    return others[0] if len(others) == 1 else Sum(others)

"""A guidance chosen by name, with changed settings."""

from __future__ import annotations

from harmony_parts.anchors.static import StaticVideo
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.sync_cfg import SyncCFG


def test_settings_change_the_chosen_guidance(harmony, trained):
    from harmony_parts.generate.settings import choose_guidance

    own = SyncCFG()
    assert choose_guidance(None, (), own) is own
    assert choose_guidance(None, ("video=1.5",), own) == SyncCFG(video=1.5)
    assert choose_guidance("sync-cfg", ("video=3", "audio=4"), own) == SyncCFG(video=3, audio=4)
    assert choose_guidance(None, ("use=cfg", "video=3"), own) == CFG(video=3)
    assert choose_guidance("sync-cfg", ("static.image=caption",), own) == SyncCFG(
        static=StaticVideo("caption")
    )
    assert choose_guidance("cfg", ("drop=['caption']",), own) == CFG(drop=("caption",))
    assert choose_guidance("sum", ('terms=["cfg", {use="sync-cfg", video=2}]',), own).terms == (
        CFG(),
        SyncCFG(video=2),
    )

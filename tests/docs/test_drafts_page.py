"""The figures of "Change a clip" are those of its report."""

from __future__ import annotations

import json
from pathlib import Path

from harmony_parts.generate.request import STRENGTH

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-to" / "change-a-clip.md").read_text(encoding="utf-8")
DIGITS = {"with the given sound": 2, "with the draft's sound": 2, "levels from the draft": 1}


def test_the_table_is_the_report() -> None:
    report = json.loads((DOCS / "results" / "drafts.json").read_text(encoding="utf-8"))
    assert str(STRENGTH) in report["strengths"]
    for strength, found in report["strengths"].items():
        cells = [
            f"{found[name]['mean']:.{n}f} [{low:.{n}f}, {high:.{n}f}]"
            for name, n in DIGITS.items()
            for low, high in [found[name]["interval"]]
        ]
        assert f"| {float(strength):g} | {' | '.join(cells)} |\n" in PAGE
    assert f"For {report['clips']} drawn faces" in PAGE

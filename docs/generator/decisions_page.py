"""decisions/index.md: number, title, status and date of every decision record."""

from __future__ import annotations

import re
from pathlib import Path

from generator.markdown import NOTE, table

RECORD = re.compile(
    r"# (?P<number>\d+)\. (?P<title>.+)\n\n- Status: (?P<status>.+)\n- Date: (?P<date>[\d-]+)\n\n"
)
INTRODUCTION = (
    "Short records of choices that the code alone doesn't explain: context, decision, consequence."
    " A decision that is reversed gets a new record, and the status of the old one names it.\n"
)
UNUSED = "*this number was never used*"


def decisions_page(folder: Path) -> str:
    """The page, from the first lines of the records in a folder."""
    files = {int(file.name[:4]): file for file in sorted(folder.glob("[0-9]*.md"))}
    rows = [
        record_row(files[number]) if number in files else [str(number), UNUSED, "", ""]
        for number in range(1, max(files) + 1)
    ]
    lines = ["# Decisions\n", INTRODUCTION, *table(["number", "title", "status", "date"], rows)]
    return NOTE + "\n".join(lines)


def record_row(file: Path) -> list[str]:
    """The row of a record. Raises ValueError if its first lines have another form."""
    match = RECORD.match(file.read_text(encoding="utf-8"))
    if match is None or int(match["number"]) != int(file.name[:4]):
        raise ValueError(
            f"{file}: a record begins with '# NUMBER. TITLE', an empty line, '- Status: ...' and"
            " '- Date: YYYY-MM-DD'"
        )
    link = f"[{match['title']}]({file.name})"
    return [match["number"], link, match["status"], match["date"]]

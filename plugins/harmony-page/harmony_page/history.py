"""The clips that were made, kept as lines of a file beside them."""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from harmony_parts.errors import warn_caller

NAME = "history.jsonl"


@attrs.frozen
class Made:
    """A clip that was made: its file, and what it was made from, in words."""

    file: str
    way: str
    model: str
    guidance: str
    prompt: str
    sound: str
    speech: str
    seed: int
    steps: int
    took: float
    sync: str

    @property
    def label(self) -> str:
        """One line: number, words, way and seed."""
        words = ", ".join(filter(None, (self.prompt, self.sound, self.speech))) or "no words"
        number = Path(self.file).name.partition("-")[0]
        return f"{number}: {words[:60]} ({self.way}, seed {self.seed})"


class History:
    """The clips in a folder, newest first; `add` writes each at once, so that nothing is lost."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.file = folder.absolute(), folder.absolute() / NAME
        self.clips: list[Made] = []
        for number, line in enumerate(self._lines(), 1):
            try:
                made = Made(**json.loads(line))
            except (ValueError, TypeError) as error:
                warn_caller(f"{self.file}, line {number} is left out: {error}")
                continue
            if (self.folder / made.file).is_file():
                self.clips.insert(0, made)

    def _lines(self) -> list[str]:
        return self.file.read_text(encoding="utf-8").splitlines() if self.file.is_file() else []

    def add(self, made: Made) -> None:
        """Remember a clip."""
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(attrs.asdict(made), ensure_ascii=False) + "\n")
        self.clips.insert(0, made)

    def path(self, made: Made) -> Path:
        """The clip's file."""
        return self.folder / made.file

    def next_number(self) -> int:
        """One more than the highest number of a file in the folder."""
        heads = (file.name.partition("-")[0] for file in self.folder.glob("*-*"))
        return 1 + max((int(head) for head in heads if head.isdecimal()), default=0)

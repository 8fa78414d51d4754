"""The files that an HTML page needs."""

from __future__ import annotations

from html.parser import HTMLParser
from urllib.parse import unquote


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.files: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.files += [unquote(value) for name, value in attrs if name in ("src", "href") and value]


def sources(html: str) -> list[str]:
    """The files that a page plays, shows and links."""
    page = _Sources()
    page.feed(html)
    return page.files

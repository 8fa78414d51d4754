"""A page on the library's small saved model, and a browser for the long tests."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import harmony_parts as hp
from harmony_page.app import serve
from harmony_page.session import Session

LOCAL = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture
def saved() -> Path:
    """A small model: 16 x 16 pixels, 7 frames, half a second."""
    return Path(__file__).parents[3] / "tests" / "generate" / "saved"


@pytest.fixture
def session(tmp_path) -> Session:
    """A session without a model."""
    return Session(tmp_path / "clips", hp.load)


@pytest.fixture
def opened(session, saved) -> Session:
    """A session with the small model."""
    session.open(str(saved))
    return session


@pytest.fixture
def elsewhere(monkeypatch) -> list[str]:
    """The addresses outside of this machine that Python connects to during a test."""
    found: list[str] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address):
        if self.family != socket.AF_UNIX and not str(address[0]).startswith(LOCAL):
            found.append(str(address[0]))
            raise OSError(f"{address[0]} is outside of this machine")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    return found


@pytest.fixture
def address(opened, elsewhere) -> Iterator[str]:
    """The address of a page that is served with the saved model."""
    page, url = serve(opened)
    yield url
    page.close()


@pytest.fixture
def browser():
    """Chromium, started from HARMONY_BROWSER, or a skip that says so."""
    program = os.environ.get("HARMONY_BROWSER")
    if not program:
        pytest.skip("no browser; set HARMONY_BROWSER to the path of a Chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield chromium
        chromium.close()

"""Plugins installed for one test: modules and metadata in a folder on the import path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., str]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(entry, source)` installs a plugin of one module and returns the module's name."""
    site, modules = tmp_path / "site", set(sys.modules)
    site.mkdir()
    monkeypatch.delenv("HARMONY_PARTS_PLUGINS", raising=False)

    def add(
        entry: str,
        source: str,
        *,
        distribution: str = "",
        version: str = "1.2",
        target: str = "",
        module: str = "",
    ) -> str:
        module = module or f"plug_{entry}"
        distribution = distribution or f"harmony-{entry}"
        (site / f"{module}.py").write_text(
            "from harmony_parts.plugin import hookimpl, part\n" + source
        )
        info = site / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        )
        (info / "entry_points.txt").write_text(f"[harmony_parts]\n{entry} = {target or module}\n")
        monkeypatch.syspath_prepend(site)
        return module

    yield add
    for name in set(sys.modules) - modules:
        if name.startswith("plug_"):
            del sys.modules[name]

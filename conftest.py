"""What all tests share, those of the plugins too.

Real clips are read from the folder HARMONY_CLIPS (default ../shared/clips beside the repository)
where it exists.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
import torch

# Timing depends on the machine, and a failure must be the same on the next run.
hypothesis.settings.register_profile("harmony", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("harmony")
# In the background of a shell Ctrl-C is ignored, there and in all that is started from there.
signal.signal(signal.SIGINT, signal.default_int_handler)
# small tensors, and other processes beside: two threads would wait for each other
torch.set_num_threads(1)

TUTORIAL = Path(__file__).parent / "docs" / "tutorials" / "first-plugin.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def first_plugin() -> list[tuple[str, str, str]]:
    """(language, file, text) of every block of the tutorial of the first plugin, whose plugin runs
    unchanged on every model.
    """
    return BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def pip_install() -> Callable[[Path, Path], None]:
    """`pip_install(package, target)`: by pip, as a user would, but nothing is downloaded, and
    nothing is left behind.
    """
    options = [
        "--no-index",
        "--no-build-isolation",
        "--no-deps",
        "--disable-pip-version-check",
        "--quiet",
    ]

    def install(package: Path, target: Path) -> None:
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *options,
            "--target",
            str(target),
            str(package),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    return install


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips, or a skip that says so."""
    folder = Path(
        os.environ.get("HARMONY_CLIPS", Path(__file__).parent / ".." / "shared" / "clips")
    ).resolve()
    if not (folder / "manifest.csv").is_file():
        pytest.skip(
            f"no real clips at {folder}; set HARMONY_CLIPS to the folder that holds manifest.csv"
        )
    return folder

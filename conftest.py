"""What all tests share, those of the plugins too.

Real clips are read from the folder HARMONY_CLIPS (default ../shared/clips beside the repository) where it exists.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest
import torch

# Timing depends on the machine, and a failure must be the same on the next run.
hypothesis.settings.register_profile("harmony", deadline=None, derandomize=True, max_examples=40)
hypothesis.settings.load_profile("harmony")
# In the background of a shell Ctrl-C is ignored, there and in all that is started from there.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # small tensors, and other processes beside: two threads would wait for each other


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips, or a skip that says so."""
    folder = Path(os.environ.get("HARMONY_CLIPS", Path(__file__).parent / ".." / "shared" / "clips")).resolve()
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no real clips at {folder}; set HARMONY_CLIPS to the folder that holds manifest.csv")
    return folder

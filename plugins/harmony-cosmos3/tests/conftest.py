"""These tests need the package installed beside harmony-parts and harmony-diffusers: `pip install
-e plugins/harmony-cosmos3`.
"""

from __future__ import annotations

from pathlib import Path

import cosmos3_toys as toys
import pytest
import torch

torch.set_num_threads(1)  # small tensors: two threads would wait for each other


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny Cosmos3-Omni in a folder, as its pipeline saves it, with its index."""
    place = tmp_path_factory.mktemp("cosmos3")
    toys.pipeline(toys.parts()).save_pretrained(place)
    return place

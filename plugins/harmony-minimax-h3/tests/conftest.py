"""These tests need the package installed beside harmony-parts and harmony-diffusers: `pip install
-e plugins/harmony-minimax-h3`.
"""

from __future__ import annotations

from pathlib import Path

import minimax_h3_toys as toys
import pytest
import torch

torch.set_num_threads(1)  # small tensors: two threads would wait for each other


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny MiniMax-H3 in a folder, as its pipeline saves it, with its index."""
    place = tmp_path_factory.mktemp("minimax-h3")
    toys.pipeline(toys.parts()).save_pretrained(str(place), overwrite_modular_index=True)
    return place

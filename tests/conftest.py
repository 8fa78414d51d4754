"""The library's own tests see its own parts alone, whatever plugins are installed beside it."""

from __future__ import annotations

import json
import os

import pytest
from helpers import toy_weights as toys
from safetensors.torch import save_file

os.environ["HARMONY_PARTS_PLUGINS"] = "none"


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> toys.Files:
    """Tiny checkpoints of Wan and Ovi and their configurations, on disk."""
    folder = tmp_path_factory.mktemp("checkpoints")
    ovi, wan = toys.numbers(toys.ovi_shapes(), 1), toys.numbers(toys.wan_shapes(), 2)
    save_file(ovi, folder / "model.safetensors")
    for name, config in (("video.json", toys.WAN_CONFIG), ("audio.json", toys.AUDIO_CONFIG)):
        (folder / name).write_text(json.dumps(config))
    return toys.Files(
        folder / "model.safetensors",
        toys.sharded(folder / "Wan", wan),
        ovi,
        wan,
        folder / "video.json",
        folder / "audio.json",
    )

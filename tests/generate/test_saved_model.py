"""A model that an older commit saved makes the clip that it made then.

The fixture was written by commit 44c4005, before the package was laid out anew, with
`tests/helpers/saved_model.py` (under that commit's module names).
"""

from __future__ import annotations

import torch
from helpers.saved_model import FOLDER, make
from safetensors import safe_open

from harmony_parts.generate.load import load


def test_a_saved_model_makes_the_clip_that_it_made() -> None:
    """Bit for bit on a CPU with the same instructions and the same torch; elsewhere, as close as
    sums in another order come: within 2 of 255 levels, and 1e-2 of full scale for the sound.
    """
    with safe_open(FOLDER / "clip.safetensors", "pt") as file:
        about, then = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    now = make(load(FOLDER))
    same = torch.backends.cpu.get_cpu_capability(), torch.__version__
    if same == (about["cpu"], about["torch"]):
        assert all(torch.equal(now[name], then[name]) for name in then)
    else:
        assert (now["frames"].int() - then["frames"].int()).abs().max() <= 2
        assert (now["waveform"] - then["waveform"]).abs().max() < 1e-2

"""These tests need the package installed beside harmony-parts and harmony-diffusers: `pip install -e plugins/harmony-ltx2`."""

from __future__ import annotations

import torch

torch.set_num_threads(1)  # small tensors: two threads would wait for each other

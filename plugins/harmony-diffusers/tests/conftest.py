"""These tests need the package installed beside harmony-parts: `pip install -e
plugins/harmony-diffusers`.
"""

from __future__ import annotations

import torch

torch.set_num_threads(1)  # small tensors: two threads would be slower

"""Settings of these tests. The package has to be installed beside harmony-parts: `pip install -e plugins/harmony-diffusers`."""

from __future__ import annotations

import os

import hypothesis
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network; read when huggingface_hub is first imported
hypothesis.settings.register_profile("diffusers", deadline=None, derandomize=True, max_examples=15)
hypothesis.settings.load_profile("diffusers")
torch.set_num_threads(1)

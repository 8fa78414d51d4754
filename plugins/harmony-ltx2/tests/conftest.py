"""These tests need the package installed beside harmony-parts and harmony-diffusers: `pip install
-e plugins/harmony-ltx2`.
"""

from __future__ import annotations

from pathlib import Path

import ltx2_toys as toys
import pytest
import torch

torch.set_num_threads(1)  # small tensors: two threads would wait for each other


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny LTX-2 in a folder, as LTX2Pipeline saves it."""
    from diffusers import (
        AutoencoderKLLTX2Audio,
        AutoencoderKLLTX2Video,
        LTX2VideoTransformer3DModel,
    )
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder
    from diffusers.pipelines.ltx2.latent_upsampler import LTX2LatentUpsamplerModel
    from transformers import ByT5Tokenizer, Gemma3Config, Gemma3ForConditionalGeneration

    place = tmp_path_factory.mktemp("ltx2")
    torch.manual_seed(0)
    LTX2VideoTransformer3DModel(**toys.TRANSFORMER).save_pretrained(place / "transformer")
    AutoencoderKLLTX2Video(**toys.VIDEO).save_pretrained(place / "vae")
    AutoencoderKLLTX2Audio(**toys.AUDIO).save_pretrained(place / "audio_vae")
    LTX2LatentUpsamplerModel(**toys.UPSAMPLER).save_pretrained(place / "latent_upsampler")
    LTX2Vocoder(**toys.VOCODER).save_pretrained(place / "vocoder")
    LTX2TextConnectors(**toys.CONNECTORS).save_pretrained(place / "connectors")
    Gemma3ForConditionalGeneration(Gemma3Config(**toys.GEMMA)).save_pretrained(
        place / "text_encoder"
    )
    ByT5Tokenizer().save_pretrained(place / "tokenizer")
    return place

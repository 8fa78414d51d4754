"""These tests need the package installed beside harmony-parts and harmony-diffusers: `pip install
-e plugins/harmony-kandinsky6`.
"""

from __future__ import annotations

from pathlib import Path

import kandinsky6_toys as toys
import pytest
import torch

torch.set_num_threads(1)  # small tensors: two threads would wait for each other


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete tiny Kandinsky 6 in a folder, as Kandinsky6TI2VAPipeline saves its models."""
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        Kandinsky6Transformer3DModel,
        MMAudioVAE,
        MMAudioVocoder,
    )
    from transformers import (
        ByT5Tokenizer,
        CLIPTextConfig,
        CLIPTextModel,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
    )

    place = tmp_path_factory.mktemp("kandinsky6")
    torch.manual_seed(0)
    Kandinsky6Transformer3DModel(**toys.RELEASED).save_pretrained(place / "transformer")
    AutoencoderKLHunyuanVideo(**toys.VIDEO).save_pretrained(place / "vae")
    MMAudioVAE(**toys.AUDIO).save_pretrained(place / "audio_vae")
    MMAudioVocoder(**toys.VOCODER).save_pretrained(place / "vocoder")
    Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**toys.QWEN)).save_pretrained(
        place / "text_encoder"
    )
    CLIPTextModel(CLIPTextConfig(**toys.CLIP)).save_pretrained(place / "text_encoder_2")
    for folder in ("tokenizer", "tokenizer_2"):
        ByT5Tokenizer().save_pretrained(place / folder)
    FlowMatchEulerDiscreteScheduler(shift=3.0).save_pretrained(place / "scheduler")
    return place

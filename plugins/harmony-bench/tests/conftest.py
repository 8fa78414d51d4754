"""Tiny networks of random weights in the published form; a helper beside it is imported by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def audiobox(tmp_path_factory) -> Path:
    """AudioBox-Aesthetics of two layers of 16 numbers, and its README."""
    from audiobox_aesthetics.model.aes import AesMultiOutput
    from small import small_wavlm

    where = tmp_path_factory.mktemp("audiobox-toy")
    scales = {
        axis: {"mean": mean, "std": 1.0 + mean / 10}
        for axis, mean in zip(("CE", "CU", "PC", "PQ"), (5.0, 6.0, 2.0, 7.0))
    }
    with torch.random.fork_rng(devices=()), small_wavlm():
        torch.manual_seed(0)
        network = AesMultiOutput(nth_layer=3, target_transform=scales)
        network.save_pretrained(where)
    (where / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n", encoding="utf-8")
    return where


@pytest.fixture(scope="session")
def dinov3(tmp_path_factory) -> Path:
    """DINOv3 of one layer of 24 numbers, with the processor that its weights come with."""
    from transformers import DINOv3ViTConfig, DINOv3ViTImageProcessor, DINOv3ViTModel

    where = tmp_path_factory.mktemp("dinov3-toy")
    config = DINOv3ViTConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_register_tokens=4,
    )  # fmt: skip
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        DINOv3ViTModel(config).save_pretrained(where)
    DINOv3ViTImageProcessor().save_pretrained(where)
    return where


@pytest.fixture(scope="session")
def raft(tmp_path_factory) -> Path:
    """raft_large, which has one size."""
    from torchvision.models.optical_flow import raft_large

    file = tmp_path_factory.mktemp("raft") / "raft_large.pth"
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        torch.save(raft_large().state_dict(), file)
    return file


@pytest.fixture(scope="session")
def syncnet(tmp_path_factory) -> tuple[Path, Path]:
    """SyncNet's and S3FD's networks, which have one size."""
    from syncnet_python.detectors.s3fd.nets import S3FDNet
    from syncnet_python.SyncNetModel import S

    where = tmp_path_factory.mktemp("syncnet")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        for network, name in ((S(), "syncnet_v2.model"), (S3FDNet("cpu"), "sfd_face.pth")):
            torch.save(network.state_dict(), where / name)
    return where / "syncnet_v2.model", where / "sfd_face.pth"


@pytest.fixture(scope="session")
def whisper(tmp_path_factory) -> Path:
    """Whisper of one layer, with the bytes as vocabulary."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperTokenizer,
    )

    where = tmp_path_factory.mktemp("whisper-toy")
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    vocab = {token: k for k, token in enumerate(sorted(ByteLevel.alphabet()) + special)}
    end, start, plain = (vocab[token] for token in special)
    config = WhisperConfig(
        vocab_size=len(vocab), num_mel_bins=16, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_target_positions=24, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=start, begin_suppress_tokens=None, suppress_tokens=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = WhisperForConditionalGeneration(config)
    network.generation_config = GenerationConfig(
        max_new_tokens=8, decoder_start_token_id=start, eos_token_id=end, pad_token_id=end,
        bos_token_id=end, no_timestamps_token_id=plain, is_multilingual=False,
    )  # fmt: skip
    network.save_pretrained(where)
    WhisperTokenizer(vocab=vocab, merges=[]).save_pretrained(where)
    WhisperFeatureExtractor(feature_size=16).save_pretrained(where)
    (where / "README.md").write_text("---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    return where

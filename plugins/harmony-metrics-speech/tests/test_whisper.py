"""Whisper of a local folder: a tiny one of random weights, and what is said of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from harmony_metrics_speech.transcription import make_recogniser
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of Whisper's form, with the bytes as vocabulary."""
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


def test_it_gives_the_same_text_each_time_and_says_what_it_is(folder, capsys):
    recognise = make_recogniser(str(folder), "", "cpu")
    message = capsys.readouterr().err
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert f"{folder.name}: licence apache-2.0" in message
    assert f"model.safetensors sha256 {digest}" in message
    sound = np.sin(np.arange(16000) / 20).astype(np.float32)
    assert isinstance(recognise(sound), str)
    assert recognise(sound) == recognise(sound)

"""Whisper from a local folder, by transformers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from harmony_metrics_speech.sound import RATE
from harmony_parts.errors import BrokenPart
from harmony_parts.models.external_weights import describe_weights, weights_folder


def whisper(folder: Path, language: str, device: torch.device | str) -> Callable[[np.ndarray], str]:
    """A recogniser, greedy and without timestamps; sounds of more than 30 s are cut there.

    Prints what it loads to the standard error: name, licence and sha256. Nothing is downloaded.
    Raises BrokenPart if the folder lacks weights or another file.
    """
    files = sorted(weights_folder(folder).glob("*.safetensors"))
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    try:
        processor = WhisperProcessor.from_pretrained(folder, local_files_only=True)
        network = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BrokenPart(f"{folder}: Whisper can't be read: {error}") from error
    print(describe_weights(folder.name, files), file=sys.stderr)
    network.eval().to(device)
    chosen = {"language": language, "task": "transcribe"} if language else {}

    @torch.inference_mode()
    def recognise(sound: np.ndarray) -> str:
        given = processor(sound, sampling_rate=RATE, return_tensors="pt").input_features
        tokens = network.generate(given.to(device), num_beams=1, do_sample=False, **chosen)
        return processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()

    return recognise

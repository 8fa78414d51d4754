"""Whisper from a local folder, by transformers."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from harmony_metrics_speech.sound import RATE
from harmony_parts.errors import BrokenPart


def whisper(folder: Path, language: str, device: torch.device | str) -> Callable[[np.ndarray], str]:
    """A recogniser, greedy and without timestamps; sounds of more than 30 s are cut there.

    Prints what it loads to the standard error: name, licence and sha256. Nothing is downloaded.
    Raises BrokenPart if the folder lacks weights or another file.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BrokenPart(f"{folder}: no *.safetensors; it must be a folder of Whisper's weights")
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    try:
        processor = WhisperProcessor.from_pretrained(folder, local_files_only=True)
        network = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BrokenPart(f"{folder}: Whisper can't be read: {error}") from error
    print(describe(folder, files), file=sys.stderr)
    network.eval().to(device)
    chosen = {"language": language, "task": "transcribe"} if language else {}

    @torch.inference_mode()
    def recognise(sound: np.ndarray) -> str:
        given = processor(sound, sampling_rate=RATE, return_tensors="pt").input_features
        tokens = network.generate(given.to(device), num_beams=1, do_sample=False, **chosen)
        return processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()

    return recognise


def describe(folder: Path, files: list[Path]) -> str:
    """Name, licence (of the front matter of its README) and sha256 of each file."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    licence = re.search(r"^license:\s*(\S+)", text, re.MULTILINE)
    lines = [f"{folder.name}: licence {licence[1] if licence else 'not stated in its README.md'}"]
    for file in files:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        lines.append(f"  {file.name} sha256 {digest}")
    return "\n".join(lines)

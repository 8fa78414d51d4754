"""Likeness of a voice to the reference audio's, by Resemblyzer."""

from __future__ import annotations

import attrs
import numpy as np
import torch

from harmony_metrics_speech.library import RESEMBLYZER
from harmony_metrics_speech.sound import RATE, SoundMetric, waveform
from harmony_parts.metrics.protocol import Metric, Reference

SHORTEST = 0.4  # s of voice, once silences are cut


@attrs.frozen
class VoiceLikeness:
    """Cosine of the two speaker embeddings of Resemblyzer (Apache-2.0; its weights are in the
    package; arXiv:1710.10467): `voice_likeness`, 0 to 1, needs `reference.voice`.

    Two people have 0.4 to 0.8, halves of one sentence 0.65 to 0.85: compare, and don't read one
    value alone.
    """

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network on `device`. Raises BrokenPart without Resemblyzer."""
        package = RESEMBLYZER.load()
        with torch.random.fork_rng(devices=()):
            network = package.VoiceEncoder(torch.device(device), verbose=False)

        def measure(sound: np.ndarray) -> np.ndarray | None:
            voiced = package.preprocess_wav(sound)
            if len(voiced) < SHORTEST * RATE:
                return None
            return network.embed_utterance(voiced)

        def numbers(found: np.ndarray, reference: Reference) -> dict[str, float]:
            other = None if reference.voice is None else measure(waveform(reference.voice))
            return {} if other is None else {"voice_likeness": float(found @ other)}

        return SoundMetric(self, RESEMBLYZER, measure, numbers, needs="voice")

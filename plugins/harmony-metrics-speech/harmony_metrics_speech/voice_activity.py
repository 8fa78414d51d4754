"""When somebody speaks, by Silero VAD."""

from __future__ import annotations

import attrs
import numpy as np
import torch

from harmony_metrics_speech.library import SILERO
from harmony_metrics_speech.sound import RATE, SoundMetric
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.plugin import knob


@attrs.frozen
class VoiceActivity:
    """Intervals of speech by Silero VAD (MIT; its weights are in the package).

    `speech_share` of the time, 0 if nobody speaks; `speech_begins` and `speech_ends` in seconds, to
    a hop of 32 ms. Singing counts as speech in part, and synthetic voices may not.
    """

    threshold: float = knob(
        0.5,
        help="least probability of speech",
        source="the package's default",
        validator=attrs.validators.and_(attrs.validators.gt(0), attrs.validators.lt(1)),
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, on the CPU: the network is small. Raises BrokenPart without silero-vad."""
        threads = torch.get_num_threads()
        silero = SILERO.load()
        torch.set_num_threads(threads)  # importing silero_vad sets it to 1 for the whole process
        network = silero.load_silero_vad()

        def measure(sound: np.ndarray) -> tuple[float, list[tuple[float, float]]]:
            found = silero.get_speech_timestamps(
                torch.from_numpy(sound), network, threshold=self.threshold, sampling_rate=RATE
            )
            return len(sound) / RATE, [(each["start"] / RATE, each["end"] / RATE) for each in found]

        return SoundMetric(self, SILERO, measure, _numbers)


def _numbers(
    found: tuple[float, list[tuple[float, float]]], reference: Reference
) -> dict[str, float]:
    seconds, spoken = found
    numbers = {"speech_share": sum(end - start for start, end in spoken) / seconds}
    if spoken:
        numbers |= {"speech_begins": spoken[0][0], "speech_ends": spoken[-1][1]}
    return numbers

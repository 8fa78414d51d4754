"""The pitch of a voice, by torchcrepe."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor

from harmony_metrics_speech.library import TORCHCREPE
from harmony_metrics_speech.sound import RATE, SoundMetric, waveform
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.plugin import knob

HOP = RATE // 100
CENTS, FIRST = 20.0, 1997.3794084376191  # between CREPE's 360 bins, and of the first, above 10 Hz
NEAR = 4  # bins to either side of the highest one
FEWEST = 10  # voiced frames


@attrs.frozen
class Pitch:
    """Fundamental frequency each 10 ms by CREPE's small network (torchcrepe, MIT; its weights are
    in the package; arXiv:1802.06182).

    `pitch_hz` is its median over voiced frames, `pitch_range` the span from the 1st to the 9th
    decile in semitones, `voiced_share` the share of voiced frames; with `reference.voice`,
    `pitch_distance` in semitones, positive if the clip's is higher.
    """

    voiced: float = knob(
        0.5,
        help="least activation of a voiced frame",
        source="this project: people's frames with a voice reach it, noise doesn't",
        validator=attrs.validators.and_(attrs.validators.gt(0), attrs.validators.lt(1)),
    )
    highest: float = knob(550.0, help="highest pitch", unit="Hz", validator=attrs.validators.gt(50))

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network on `device`. Raises BrokenPart without torchcrepe."""
        package = TORCHCREPE.load()
        with torch.random.fork_rng(devices=()):
            network = package.Crepe("tiny")
        weights = Path(package.__file__).parent / "assets" / "tiny.pth"
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        network.eval().to(device)

        @torch.inference_mode()
        def measure(sound: np.ndarray) -> np.ndarray:
            pieces = package.preprocess(
                torch.from_numpy(sound)[None], RATE, HOP, 512, device, pad=True
            )
            return self.contour(torch.cat([network(each).cpu() for each in pieces]))

        def numbers(found: np.ndarray, reference: Reference) -> dict[str, float]:
            given = {"voiced_share": float(np.isfinite(found).mean())}
            if (median := _median(found)) is None:
                return given
            low, high = np.nanquantile(found, (0.1, 0.9))
            given |= {"pitch_hz": median, "pitch_range": 12 * float(np.log2(high / low))}
            if reference.voice is not None and reference.voice.waveform is not None:
                sound = waveform(reference.voice)
                other = _median(measure(sound)) if len(sound) else None
                if other is not None:
                    given["pitch_distance"] = 12 * float(np.log2(median / other))
            return given

        return SoundMetric(self, TORCHCREPE, measure, numbers)

    def contour(self, activation: Tensor) -> np.ndarray:
        """[frames] Hz of [frames, 360], NaN if unvoiced: the mean over the bins near the highest.

        torchcrepe's decoders aren't used: they add noise of numpy's global generator.
        """
        bins = torch.arange(activation.shape[1])
        cents = CENTS * bins + FIRST
        allowed = 10 * 2 ** (cents / 1200) <= self.highest
        peak, at = activation.masked_fill(~allowed, 0).max(1)
        near = (bins - at[:, None]).abs() <= NEAR
        weights = activation * near
        hertz = 10 * 2 ** ((weights @ cents) / weights.sum(1).clamp_min(1e-9) / 1200)
        return np.where(peak >= self.voiced, hertz, np.nan)


def _median(hertz: np.ndarray) -> float | None:
    voiced = hertz[np.isfinite(hertz)]
    return float(np.median(voiced)) if len(voiced) >= FEWEST else None

"""Predicted opinion of speech quality, by DistillMOS."""

from __future__ import annotations

import contextlib
import io

import attrs
import numpy as np
import torch

from harmony_metrics_speech.library import DISTILLMOS
from harmony_metrics_speech.sound import SoundMetric
from harmony_parts.metrics.protocol import Metric


@attrs.frozen
class DistillMOS:
    """DistillMOS (MIT; its weights are in the package; arXiv:2502.05356): `distillmos`, 1 to 5.

    A sound is scored in windows of 7.68 s, at most 1 s apart; a shorter one is padded.
    """

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network on `device`. Raises BrokenPart without distillmos."""
        package = DISTILLMOS.load()
        # it prints the path of its weights
        with torch.random.fork_rng(devices=()), contextlib.redirect_stdout(io.StringIO()):
            network = package.ConvTransformerSQAModel().eval().to(device)

        @torch.inference_mode()
        def measure(sound: np.ndarray) -> float:
            return float(network(torch.from_numpy(sound)[None].to(device)))

        return SoundMetric(
            self, DISTILLMOS, measure, lambda found, reference: {"distillmos": found}
        )

"""Predicted opinion of speech in noise, by DNSMOS P.835 and P.808."""

from __future__ import annotations

from pathlib import Path

import attrs
import numpy as np
import torch

from harmony_metrics_speech.library import SPEECHMOS
from harmony_metrics_speech.sound import RATE, SoundMetric
from harmony_parts.metrics.protocol import Metric

NAMES = {
    "ovrl_mos": "dnsmos_ovrl",
    "sig_mos": "dnsmos_sig",
    "bak_mos": "dnsmos_bak",
    "p808_mos": "dnsmos_p808",
}


@attrs.frozen
class DNSMOS:
    """DNSMOS (speechmos, MIT; its weights are in the package; arXiv:2110.01763), about 1 to 5.

    `dnsmos_sig` rates the voice, `dnsmos_bak` the quiet of the background, `dnsmos_ovrl` both;
    `dnsmos_p808` is an older net for the whole. Trained on speech: music and noise score about 1.
    A sound of less than 9 s is repeated to that length, as the package does.
    """

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, on the CPU. Raises BrokenPart without speechmos or onnxruntime."""
        speechmos = SPEECHMOS.load()
        folder = Path(speechmos.__file__).parent / "dnsmos_models"
        scorer = _scorer(speechmos, folder / "sig_bak_ovr.onnx", folder / "model_v8.onnx")

        def measure(sound: np.ndarray) -> dict[str, float]:
            found = scorer(sound, RATE, False)
            return {name: float(found[key]) for key, name in NAMES.items()}

        return SoundMetric(self, SPEECHMOS, measure, lambda found, reference: dict(found))


def _scorer(speechmos, opinions: Path, p808: Path):  # type: ignore[no-untyped-def]
    """The package's scorer with sessions of one thread.

    Its own take a thread a core, and these spin: beside ten processes on two cores a clip took 18 s
    instead of 4 s.
    """
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    scorer = object.__new__(speechmos.DNSMOS)
    for name, file in (("onnx_sess", opinions), ("p808_onnx_sess", p808)):
        session = InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        setattr(scorer, name, session)
    return scorer

"""The device of tests that need a GPU, and what they compare there.

HARMONY_GPU_DEVICE=cpu runs them on a CPU, to see that the tests themselves are sound.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from harmony_parts.av import AV, Prompt
from harmony_parts.generate.pipeline import Pipeline

DEVICE = os.environ.get("HARMONY_GPU_DEVICE", "cuda")
CUDA = DEVICE == "cuda"
NEEDS_DEVICE = [
    pytest.mark.gpu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        CUDA and not torch.cuda.is_available(),
        reason="no CUDA device here; `make gpu` on a machine that has one",
    ),
]
# float32 sums of at most a few thousand terms in another order, through a few layers: the error is
# far below 1e-3 of the scale, and that of a bug far above
CLOSE = {"rtol": 1e-3, "atol": 1e-3}


def report(**figures: Any) -> None:
    """Append a line to HARMONY_GPU_REPORT, with device and versions."""
    if path := os.environ.get("HARMONY_GPU_REPORT"):
        versions = {package: version(package) for package in ("torch", "triton", "harmony-parts")}
        device = torch.cuda.get_device_name() if CUDA else DEVICE
        line = json.dumps({"device": device, "versions": versions, **figures})
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def synchronize() -> None:
    """Wait for the device."""
    if CUDA:
        torch.cuda.synchronize()


def peak_bytes() -> int:
    """The most bytes in use since the last call, 0 on a CPU."""
    if not CUDA:
        return 0
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def check_as_on_the_cpu(pipeline: Pipeline, **given: Any) -> None:
    """A seed's latents as on the CPU, a clip of both streams, and the same with offload.

    Convolutions may round otherwise where the weights begin elsewhere in memory.
    """
    made: list[AV[torch.Tensor]] = []
    for device in ("cpu", DEVICE):
        pipeline.to(device)
        latents = pipeline.latents([Prompt("rain")], seeds=[0], **given)
        made.append(latents.map(torch.Tensor.cpu))
    for stream in made[0]:
        torch.testing.assert_close(made[1][stream], made[0][stream], **CLOSE)
    clips = [pipeline.generate("rain", seed=1).clip]
    clips.append(pipeline.to("cpu").to(DEVICE, offload="layers").generate("rain", seed=1).clip)
    for clip in clips:
        assert (clip.frames.int() - clips[0].frames.int()).abs().max() <= 1
        torch.testing.assert_close(clip.waveform, clips[0].waveform, **CLOSE)
    assert clips[0].waveform.isfinite().all()

"""Clips on a device apart from the host: everything is moved there, and the host seldom waits.

The device is a stand-in that computes on the CPU (`helpers.stand_in_device`).
"""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from helpers.stand_in_device import DEVICE, is_available, stand_in

from harmony_parts.assembly.read import read_recipe
from harmony_parts.errors import RunError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip
from harmony_parts.sample.sampler import Step
from harmony_parts.testing.contracts.tested import perturbed

pytestmark = pytest.mark.skipif(not is_available(), reason="this torch has no device of Python")
SMALL = (
    "denoiser.layers=1",
    "denoiser.video={use='transformer', width=32, heads=2, feed=32, patch=1}",
    "denoiser.audio={use='mmdit', width=32, heads=2, feed=32}",
    "sample.steps=3",
    "codecs.audio.iterations=2",
    "format.seconds=0.75",
)


@pytest.fixture
def pipeline() -> Pipeline:
    """As if trained: no weight is zero."""
    made = Pipeline.assemble(read_recipe("demo", SMALL))
    perturbed(made.weights)
    return made


def media(pipeline: Pipeline, *names: str) -> dict[str, Clip]:
    one = pipeline.recipe.data.build(format=pipeline.format).example(0, torch.Generator()).clip
    return dict.fromkeys(names, one)


@pytest.mark.parametrize(
    ("given", "per_step"),
    [((), 3), (("image", "voice"), 3), (("audio",), 2), (("video",), 3), (("begin",), 3)],
    ids=["joint", "conditions", "audio-driven", "video-driven", "goes on"],
)
def test_clips_are_those_of_the_cpu_and_the_host_waits_seldom(
    pipeline: Pipeline, given: tuple[str, ...], per_step: int
) -> None:
    """SyncCFG's passes, its guidance and the solver are checked with a transfer each time the host
    needs to know: before an anchor is made from the estimate, and after the velocity and the step.
    """
    inputs = media(pipeline, *given)
    expected = pipeline.generate("a ball", seed=1, **inputs).clip
    steps: list[Counter[str]] = []
    with stand_in() as device:
        pipeline.to(DEVICE)

        def after(step: Step) -> None:
            steps.append(device.waits.copy())
            device.waits.clear()

        made = pipeline.generate("a ball", seed=1, progress=after, **inputs).clip
    torch.testing.assert_close(made.waveform, expected.waveform, rtol=0, atol=1e-3)
    assert (made.frames.int() - expected.frames.int()).abs().max() <= 1
    assert len(steps) == 3
    # the first step fills caches
    assert [step.total() for step in steps[1:]] == [per_step] * 2, steps[-1]
    assert {place.split(": ")[1] for place in steps[-1]} == {"sample/checks.py settle"}


def test_a_fault_is_still_named_where_it_arose(pipeline: Pipeline) -> None:
    """Of several parts whose values are checked together, the first one."""
    next(pipeline.weights.parameters()).data.fill_(torch.nan)
    with stand_in():
        pipeline.to(DEVICE)
        with pytest.raises(
            RunError, match=r"the denoiser \w+ at step 1 of 3 .*'joint' returned NaN"
        ):
            pipeline.generate("a ball")


def test_the_stand_in_refuses_what_a_gpu_refuses() -> None:
    """Tensors of both devices, and values that weren't transferred; it counts what waits."""
    with stand_in() as device:
        x = torch.arange(4.0).to(DEVICE)
        assert x.device == DEVICE
        with pytest.raises(RuntimeError, match="of the host and of the device"):
            x + torch.ones(4)
        with pytest.raises(TypeError, match="can't convert"):
            x.numpy()
        device.waits.clear()
        assert (x * 2).tolist() == [0, 2, 4, 6]
        assert bool((x > 2).any())
        assert x[x > 2].cpu().numpy() == 3
        assert torch.full((2,), 3.0, device=DEVICE).device == DEVICE
        assert device.waits.total() == 4, device.waits

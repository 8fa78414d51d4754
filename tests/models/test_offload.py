"""Offloaded weights: the same results, less memory on the device, and weights back in place.

On the CPU "the device" is the host's memory and weights are copied there, which covers everything
but CUDA's streams.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from threading import Event, Thread
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import harmony_parts as hp
from harmony_parts.cost.memory import Live
from harmony_parts.errors import RunError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.layer_stream import ALIGNED
from harmony_parts.models.offload import (
    Offload,
    layers_of,
    move_weights,
    part_modules,
    resident_bytes,
    weights_on_device,
)
from harmony_parts.models.offloaded_codec import OffloadedCodec

RECIPE = ("denoiser.layers=4", "sample.steps=2", "format.seconds=0.5")


class Codec:
    """A codec with weights: an inner codec, scaled by a number that a module owns."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.gain = inner, nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.gain.weight, 2.0)
        self.external_modules = (self.gain,)
        self.seen: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, given: Tensor) -> Tensor:
        """The inner codec's latents, scaled."""
        self.seen.append(self.gain.weight.data_ptr())
        return self.inner.encode(given) * self.gain.weight.detach().item()

    def decode(self, latents: Tensor) -> Tensor:
        """The inner codec's clip of the latents, scaled back."""
        self.seen.append(self.gain.weight.data_ptr())
        return self.inner.decode(latents / self.gain.weight.detach().item())


@pytest.fixture
def pipeline() -> Pipeline:
    """A small model whose weights aren't zero."""
    made = hp.Pipeline.assemble(hp.read_recipe("demo", RECIPE))
    generator = torch.Generator().manual_seed(0)
    for weight in made.weights.parameters():
        weight.data += 0.02 * torch.randn(weight.shape, generator=generator)
    return made


def places(pipeline: Pipeline) -> list[tuple[str, int, Tensor]]:
    return [
        (name, x.data_ptr(), x.detach().clone())
        for name, x in pipeline.weights.state_dict().items()
    ]


@pytest.mark.parametrize("offload", ["parts", "layers"])
@pytest.mark.parametrize(
    "guidance",
    [hp.SyncCFG(), hp.SkipLayer(layer=1), hp.SkipLayer(layer=3), hp.Modality(), hp.NoGuidance()],
)
def test_offloaded_clips_are_bit_equal_and_weights_return(
    pipeline: Pipeline, offload: Any, guidance: Any
) -> None:
    """Even if a guidance skips a layer, so that the layer that was copied isn't called."""
    before = places(pipeline)
    want = pipeline.latents([hp.Prompt("a ball")], seeds=[1], guidance=guidance)
    got = pipeline.to("cpu", offload=offload).latents(
        [hp.Prompt("a ball")], seeds=[1], guidance=guidance
    )
    assert all(torch.equal(got[stream], want[stream]) for stream in want)
    for (name, place, value), (again, same_place, same) in zip(
        before, places(pipeline), strict=True
    ):
        assert (name, place) == (again, same_place)
        assert torch.equal(value, same)


def test_the_peak_on_the_device_is_resident_bytes(pipeline: Pipeline) -> None:
    """Whole parts, or what isn't in layers and two of the four layers."""
    denoiser = pipeline.weights["denoiser"]
    av = pipeline.shapes(6).map(lambda shape: torch.zeros(1, *shape))
    times = av.map(lambda x: hp.Times.uniform(torch.ones(1), x.shape[1]))
    conditions = pipeline.conditions([hp.Prompt()])
    denoiser(av, times, conditions)  # computes its tables
    whole, by_layer = resident_bytes(denoiser, "parts"), resident_bytes(denoiser, "layers")
    assert whole == sum(x.nbytes for x in (*denoiser.parameters(), *denoiser.buffers()))
    assert len(layers_of(denoiser)) == 4
    assert by_layer == whole - 2 * resident_bytes(layers_of(denoiser)[0], "parts")
    peaks = {}
    for offload in get_args(Offload):
        with (
            torch.no_grad(),
            Live(denoiser.parameters()) as live,
            weights_on_device(denoiser, "cpu", offload),
        ):
            denoiser(av, times, conditions)
        peaks[offload] = live.peak
    gaps = 2 * ALIGNED * sum(1 for _ in layers_of(denoiser)[0].parameters())
    assert peaks["parts"] == peaks["none"] + whole
    assert peaks["none"] + by_layer <= peaks["layers"] <= peaks["none"] + by_layer + gaps


@pytest.mark.parametrize("offload", ["parts", "layers"])
def test_a_failure_returns_all_weights(pipeline: Pipeline, offload: Any) -> None:
    before = places(pipeline)
    pipeline.to("cpu", offload=offload)

    def fail(*_: Any) -> None:
        raise RuntimeError("in the third layer")

    hook = layers_of(pipeline.parts.denoiser)[2].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="in the third layer"):
        pipeline.latents([hp.Prompt()], seeds=[0])
    hook.remove()
    assert [place for _, place, _ in before] == [place for _, place, _ in places(pipeline)]
    assert not any(
        layer._forward_hooks or layer._forward_pre_hooks
        for layer in layers_of(pipeline.parts.denoiser)
    )


def test_a_codec_with_weights_is_offloaded_too(pipeline: Pipeline) -> None:
    """With the same results; a codec without weights is unchanged."""
    plain = pipeline.codecs["audio"]
    codec = Codec(pipeline.parts.codecs["video"])
    object.__setattr__(pipeline.parts, "codecs", hp.AV(codec, plain))
    pipeline.to("cpu")
    frames = torch.zeros(1, 6, pipeline.format.height, pipeline.format.width, 3, dtype=torch.uint8)
    want = pipeline.codecs["video"].encode(frames)
    pipeline.to("cpu", offload="parts")
    assert pipeline.codecs["audio"] is plain
    offloaded = pipeline.codecs["video"]
    assert torch.equal(offloaded.encode(frames), want)
    assert torch.equal(offloaded.decode(want), codec.decode(want))
    home = codec.gain.weight.data_ptr()
    assert [place == home for place in codec.seen] == [True, False, False, True]
    assert (offloaded.channels, offloaded.grid) == (codec.channels, codec.grid)
    made = [
        pipeline.to("cpu", offload=how)
        .generate("a ball", guidance=hp.SyncCFG(), seconds=0.5)
        .clip.frames
        for how in get_args(Offload)
    ]
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])


def test_compiled_layers_are_refused(pipeline: Pipeline) -> None:
    for block in layers_of(pipeline.parts.denoiser):
        block.compile()
    with pytest.raises(ValueError, match="set compile = false, or offload whole parts"):
        pipeline.to("cpu", offload="layers").latents([hp.Prompt()], seeds=[0])


def test_a_parts_modules_are_itself_and_its_external_modules() -> None:
    part, module = nn.Linear(2, 2), nn.Linear(3, 3)
    part.__dict__["external_modules"] = (module,)
    assert part_modules(part) == (part, module)
    assert part_modules(object()) == ()
    with torch.device("meta"):
        empty = nn.Linear(2, 2)
    with pytest.raises(
        ValueError,
        match=r'Linear has no weights to move: it was built inside `torch\.device\("meta"\)`',
    ):
        move_weights(empty, "cpu")
    move_weights(part, "meta")
    assert part.weight.is_meta
    assert module.weight.is_meta


def test_a_loaded_model_is_offloaded(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.save(tmp_path / "model")
    want = pipeline.latents([hp.Prompt("a ball")], seeds=[1])
    loaded = hp.load(tmp_path / "model", offload="layers")
    got = loaded.latents([hp.Prompt("a ball")], seeds=[1])
    assert (loaded.offload, loaded.device) == ("layers", torch.device("cpu"))
    assert all(torch.equal(got[stream], want[stream]) for stream in want)
    assert loaded.to(dtype=torch.bfloat16).offload == "layers"
    copied = copy.deepcopy(loaded.weights.state_dict())
    assert {x.dtype for x in copied.values() if x.is_floating_point()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copied", "pickled"]
)
def test_an_offloaded_codec_can_be_copied_and_pickled(again: Any, pipeline: Pipeline) -> None:
    codec = OffloadedCodec(pipeline.codecs["video"], torch.device("cpu"))
    latents = torch.randn(
        1, 3, *codec.grid, codec.channels, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(again(codec).decode(latents), codec.decode(latents))


def test_threads_take_turns() -> None:
    """Otherwise the last to end would leave the weights where the other thread had put them."""
    part = nn.Linear(2, 2)
    home, inside = part.weight.data_ptr(), Event()

    def enter() -> None:
        with weights_on_device(part, "cpu", "parts"):
            inside.set()

    # the same thread may nest
    with weights_on_device(part, "cpu", "parts"), weights_on_device(part, "cpu", "parts"):
        other = Thread(target=enter)
        other.start()
        assert not inside.wait(0.05)
    other.join(10)
    assert inside.is_set()
    assert part.weight.data_ptr() == home


def test_wrong_arguments_of_to_change_nothing(pipeline: Pipeline) -> None:
    for wrong in ("layer", True, None):
        with pytest.raises(ValueError, match="offload is one of 'none', 'parts', 'layers', not"):
            pipeline.to("cpu", offload=wrong)
    for wrong in ({"device": torch.bfloat16}, {"dtype": "bfloat16"}):
        with pytest.raises(ValueError, match=r'as in to\("cuda", dtype=torch.bfloat16\)'):
            pipeline.to(**wrong)
    for device in ("cuda:99", "gpu"):
        with pytest.raises(
            RunError, match=rf"the device '{device}' can't be used: .*harmony doctor"
        ):
            pipeline.to(device, torch.float64)
    assert (pipeline.device, pipeline.offload) == (torch.device("cpu"), "none")
    assert {weight.dtype for weight in pipeline.weights.parameters()} == {torch.float32}


def test_changing_only_the_type_keeps_the_offloading(pipeline: Pipeline) -> None:
    assert pipeline.to(dtype=torch.float64, offload="layers").offload == "layers"
    assert pipeline.to(dtype=torch.bfloat16).offload == "layers"

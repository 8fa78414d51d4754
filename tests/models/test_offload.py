"""Weights that come to the device for their work and go again: the same numbers, less memory, and
everything in its place afterwards.

On the CPU "the device" is the host's memory, and what comes is a copy, so that all of it can be
seen here but CUDA's streams.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from threading import Event, Thread
from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import harmony_parts as hp
from harmony_parts.cost.memory import Live
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.models.offload import (
    ALIGNED,
    Offload,
    layers_of,
    move_weights,
    part_modules,
    resident_bytes,
    views,
    weights_on_device,
)
from harmony_parts.models.offloaded_codec import OffloadedCodec

RECIPE = ("denoiser.layers=4", "sample.steps=2", "format.seconds=0.5")


class Codec:
    """A codec that has weights: the one inside it, times a number that a module holds."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.gain = inner, nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.gain.weight, 2.0)
        self.external_modules = (self.gain,)
        self.seen: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def encode(self, given: Tensor) -> Tensor:
        """Scaled."""
        self.seen.append(self.gain.weight.data_ptr())
        return self.inner.encode(given) * self.gain.weight.detach().item()

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled back."""
        self.seen.append(self.gain.weight.data_ptr())
        return self.inner.decode(latents / self.gain.weight.detach().item())


@pytest.fixture
def pipeline() -> Pipeline:
    """A small model, its weights moved from their zeros."""
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
def test_clips_are_the_same_and_weights_stay(
    pipeline: Pipeline, offload: Any, guidance: Any
) -> None:
    """Bit for bit, also where a guidance leaves a layer out and the one that was fetched isn't
    called.
    """
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


def test_what_is_on_the_device_at_most(pipeline: Pipeline) -> None:
    """A pass holds as many bytes more as `resident` says: whole parts, or the rest of one and two
    of its four layers.
    """
    denoiser = pipeline.weights["denoiser"]
    av = pipeline.shapes(6).map(lambda shape: torch.zeros(1, *shape))
    times = av.map(lambda x: hp.Times.uniform(torch.ones(1), x.shape[1]))
    conditions = pipeline.conditions([hp.Prompt()])
    denoiser(av, times, conditions)  # makes its tables
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
def test_a_failure_brings_everything_home(pipeline: Pipeline, offload: Any) -> None:
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


def test_codecs_with_weights_come_for_their_work(pipeline: Pipeline) -> None:
    """And what a codec gives is the same; one without weights is left as it is."""
    plain = pipeline.codecs["audio"]
    codec = Codec(pipeline.parts.codecs["video"])
    object.__setattr__(pipeline.parts, "codecs", hp.AV(codec, plain))
    pipeline.to("cpu")
    frames = torch.zeros(1, 6, pipeline.format.height, pipeline.format.width, 3, dtype=torch.uint8)
    want = pipeline.codecs["video"].encode(frames)
    pipeline.to("cpu", offload="parts")
    assert pipeline.codecs["audio"] is plain
    visiting = pipeline.codecs["video"]
    assert torch.equal(visiting.encode(frames), want)
    assert torch.equal(visiting.decode(want), codec.decode(want))
    home = codec.gain.weight.data_ptr()
    assert [place == home for place in codec.seen] == [True, False, False, True]
    assert (visiting.channels, visiting.grid) == (codec.channels, codec.grid)
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


class Nested(nn.Module):
    """Lists of one module, of several classes and of lists of layers, a tied weight, a buffer, a
    layer that is called twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self.single = nn.ModuleList([nn.Linear(4, 4)])
        self.mixed = nn.ModuleList([nn.Linear(4, 4), nn.ReLU()])
        self.lists = nn.ModuleList(
            [nn.ModuleList([nn.Linear(4, 4) for _ in range(2)]) for _ in range(2)]
        )
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.lists[0][0].weight
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        """All of it, some of it twice."""
        for layer in (
            *self.single,
            *self.mixed,
            *(layer for pair in self.lists for layer in pair),
            self.lists[1][0],
            self.tied,
        ):
            x = layer(x)
        return x + self.shift


def test_any_module_can_be_taken_apart() -> None:
    module, x = Nested(), torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    want = module(x)
    assert len(layers_of(module)) == 4
    with weights_on_device(module, "cpu", "layers"):
        assert torch.equal(module(x), want)


class Gains(nn.Module):
    """Layers that add their own number, called in whatever order."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(layers))
        for n, layer in enumerate(self.layers):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, float(n))

    def forward(self, order: list[int]) -> list[float]:
        """What each call adds."""
        return [float(self.layers[n](torch.zeros(1))) for n in order]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2, 5).flatmap(
        lambda n: st.tuples(st.just(n), st.lists(st.integers(0, n - 1), max_size=12))
    )
)
def test_layers_may_be_called_in_any_order(case: tuple[int, list[int]]) -> None:
    """Left out, again, backwards: each has its own weights."""
    layers, order = case
    module = Gains(layers)
    with torch.no_grad(), weights_on_device(module, "cpu", "layers"):
        assert module(order) == order


def test_what_a_part_holds() -> None:
    holder, module = nn.Linear(2, 2), nn.Linear(3, 3)
    holder.__dict__["external_modules"] = (module,)
    assert part_modules(holder) == (holder, module)
    assert part_modules(object()) == ()
    with torch.device("meta"):
        empty = nn.Linear(2, 2)
    with pytest.raises(
        ValueError,
        match=r'Linear has no weights to move: it was built inside `torch\.device\("meta"\)`',
    ):
        move_weights(empty, "cpu")
    move_weights(holder, "meta")
    assert holder.weight.is_meta
    assert module.weight.is_meta


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([torch.float32, torch.bfloat16, torch.bool, torch.int64]),
            st.lists(st.integers(0, 5), max_size=3),
        )
    )
)
def test_views_hold_their_tensors(forms: list[tuple[torch.dtype, list[int]]]) -> None:
    """Each in a place of its own, aligned, of its shape and type."""
    tensors = [
        torch.randint(2, shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        for dtype, shape in forms
    ]
    room = torch.zeros(sum(-(-x.nbytes // ALIGNED) * ALIGNED for x in tensors), dtype=torch.uint8)
    found = views(room, tensors)
    for view, x in zip(found, tensors, strict=True):
        view.copy_(x)
    for view, x in zip(found, tensors, strict=True):
        assert (view.dtype, view.shape) == (x.dtype, x.shape)
        assert torch.equal(view, x)
        assert not x.numel() or (view.data_ptr() - room.data_ptr()) % ALIGNED == 0


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
def test_an_offloaded_codec_can_be(again: Any, pipeline: Pipeline) -> None:
    codec = OffloadedCodec(pipeline.codecs["video"], torch.device("cpu"))
    latents = torch.randn(
        1, 3, *codec.grid, codec.channels, generator=torch.Generator().manual_seed(0)
    )
    assert torch.equal(again(codec).decode(latents), codec.decode(latents))


def test_threads_take_turns() -> None:
    """Otherwise the one that leaves last would put the weights where the other one had brought
    them.
    """
    part = nn.Linear(2, 2)
    home, inside = part.weight.data_ptr(), Event()

    def come() -> None:
        with weights_on_device(part, "cpu", "parts"):
            inside.set()

    with (
        weights_on_device(part, "cpu", "parts"),
        weights_on_device(part, "cpu", "parts"),
    ):  # the same thread may come again
        other = Thread(target=come)
        other.start()
        assert not inside.wait(0.05)
    other.join(10)
    assert inside.is_set()
    assert part.weight.data_ptr() == home


def test_where_to_is_looked_at_first(pipeline: Pipeline) -> None:
    for wrong in ("layer", True, None):
        with pytest.raises(ValueError, match="offload is one of 'none', 'parts', 'layers', not"):
            pipeline.to("cpu", offload=wrong)
    for wrong in ({"device": torch.bfloat16}, {"dtype": "bfloat16"}):
        with pytest.raises(ValueError, match=r'as in to\("cuda", dtype=torch.bfloat16\)'):
            pipeline.to(**wrong)
    with pytest.raises((RuntimeError, AssertionError)):  # as PyTorch was built
        pipeline.to("cuda:99")
    assert (pipeline.device, pipeline.offload) == (torch.device("cpu"), "none")


def test_a_type_alone_leaves_weights_where_they_are(pipeline: Pipeline) -> None:
    assert pipeline.to(dtype=torch.float64, offload="layers").offload == "layers"  # to where it is
    assert pipeline.to(dtype=torch.bfloat16).offload == "layers"

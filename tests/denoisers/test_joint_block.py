"""The joint block: gradients, symmetries, types; compiling and recomputing change nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace

import attrs
import pytest
import torch
from helpers.small_denoiser import nonzero
from torch import Tensor
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from harmony_parts.av import AV, STREAMS, Condition, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.protocol import Tokens
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.denoisers.joint_block import JointBlock
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

INTERACTIONS = {"gldi": GLDI(), "global": Global(), "none": NoInteraction()}
AUDIO = {"mmdit": MMDiT(width=12, heads=2, feed=8), "cross": CrossAudio(width=12, heads=2, feed=8)}
PAIRS = list(itertools.product(INTERACTIONS, AUDIO))
B, TV, TA, L = 2, 3, 7, 3


CODECS = AV(StubCodec(2, (4, 2), 6.0), StubCodec(3, (), 14.0))


def build(
    interaction: str, audio: str, precision: str = "float32", **settings: object
) -> BranchDenoiser:
    widths = {"caption": 5, "sound": 4} | ({"voice": 3} if audio == "mmdit" else {})
    spec = DualBranch(
        layers=2,
        video=VideoTransformer(width=12, heads=2, feed=8, patch=2, precision=precision),
        audio=attrs.evolve(AUDIO[audio], precision=precision),
        interaction=INTERACTIONS[interaction],
        **settings,
    )
    torch.manual_seed(0)
    return nonzero(spec.build(codecs=CODECS, encoders={"all": StubEncoder(**widths)})).double()


def inputs(
    denoiser: BranchDenoiser, seed: int = 0
) -> tuple[AV[Tensor], AV[Times], dict[str, Condition]]:
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    mask = torch.arange(L) < torch.tensor([[L], [1]])
    conditions = {
        name: Condition(noise(B, L, {"caption": 5, "sound": 4, "voice": 3}[name]), mask)
        for name in denoiser.accepts
    }
    av = AV(noise(B, TV, 4, 2, 2), noise(B, TA, 3))
    first = torch.arange(TV).expand(B, -1) == 0
    values = AV(
        torch.tensor([0.7, 0.2], dtype=torch.float64), torch.tensor([0.7, 0.0], dtype=torch.float64)
    )
    times = values.map(lambda t, x: Times.uniform(t, x.shape[1]), av)
    return av, times.replace(video=times.video.clean_where(first)), conditions


def layer(denoiser: BranchDenoiser) -> tuple[JointBlock, AV[Tokens], object]:
    """A joint block, the tokens that enter it, and its tables."""
    av, times, conditions = inputs(denoiser)
    cache: dict[str, object] = {}
    streams = av.map(
        lambda x, t, s, c: denoiser.branches[s].embed(x, t, c),
        times,
        AV(*STREAMS),
        denoiser._project_conditions(av, conditions, cache),
    )
    return denoiser.blocks[0], streams, denoiser._interaction_tables(av)


@pytest.mark.parametrize(("interaction", "audio"), PAIRS)
def test_gradients_of_a_joint_block(interaction: str, audio: str) -> None:
    """Of hidden states, references, context and every weight, against finite differences."""
    block, streams, tables = layer(build(interaction, audio))
    weights = {name: p.detach().requires_grad_() for name, p in block.named_parameters()}
    fields = [
        (s, name)
        for s in STREAMS
        for name in ("hidden", "reference", "context")
        if getattr(streams[s], name) is not None
    ]
    given = [getattr(streams[s], name).detach().requires_grad_() for s, name in fields]

    def run(*values: Tensor) -> tuple[Tensor, ...]:
        fed = streams
        for (s, name), value in zip(fields, values):
            fed = fed.replace(**{s: replace(fed[s], **{name: value})})
        out, _ = functional_call(
            block, dict(zip(weights, values[len(fields) :])), (fed, tables, AV())
        )
        return tuple(
            getattr(out[s], name)
            for s in out
            for name in ("hidden", "reference", "context")
            if getattr(out[s], name) is not None
        )

    assert gradcheck(run, (*given, *weights.values()), fast_mode=True, atol=1e-7)


def test_tokens_of_a_frame_are_ordered_only_by_their_positions() -> None:
    """Permuted with their RoPE table, tokens give permuted results; audio doesn't change."""
    denoiser = build("gldi", "mmdit")
    block, streams, tables = layer(denoiser)
    order = torch.tensor([1, 0])
    video = replace(
        streams["video"],
        hidden=streams["video"].hidden[:, :, order],
        rope=streams["video"].rope[:, order],
    )
    (one, _), (two, _) = (
        block(streams, tables, AV()),
        block(streams.replace(video=video), tables, AV()),
    )
    torch.testing.assert_close(two["video"].hidden, one["video"].hidden[:, :, order])
    torch.testing.assert_close(two["audio"].hidden, one["audio"].hidden)


@pytest.mark.parametrize(("interaction", "audio"), PAIRS)
def test_the_order_of_context_tokens_has_no_effect(interaction: str, audio: str) -> None:
    """Their encoder encodes the order of words."""
    denoiser = build(interaction, audio)
    av, times, conditions = inputs(denoiser)
    order = torch.tensor([2, 0, 1])
    shuffled = conditions | {
        name: Condition(conditions[name].tokens[:, order], conditions[name].mask[:, order])
        for name in ("caption", "sound")
    }
    one, two = denoiser(av, times, conditions), denoiser(av, times, shuffled)
    for s in STREAMS:
        torch.testing.assert_close(one[s], two[s])


@pytest.mark.parametrize(
    ("interaction", "audio"),
    [
        (
            pair
            if pair in (("gldi", "mmdit"), ("global", "cross"))
            else pytest.param(*pair, marks=pytest.mark.slow)
        )
        for pair in PAIRS
    ],
)
def test_a_joint_block_compiles_without_graph_breaks(interaction: str, audio: str) -> None:
    denoiser = build(interaction, audio)
    av, times, conditions = inputs(denoiser)
    wanted = denoiser(av, times, conditions)
    torch._dynamo.reset()
    for block in denoiser.blocks:
        block.compile(fullgraph=True, backend="aot_eager")
    got = denoiser(av, times, conditions)
    assert all(torch.equal(wanted[s], got[s]) for s in STREAMS)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a C++ compiler makes every kernel
@pytest.mark.parametrize(("interaction", "audio"), [("gldi", "mmdit")])
def test_a_compiled_denoiser_computes_the_same(interaction: str, audio: str) -> None:
    """The setting `compile` with inductor, forward and backward: equal but for rounding."""
    results = []
    for denoiser in (
        build(interaction, audio).float(),
        build(interaction, audio, compile=True).float(),
    ):
        av, times, conditions = inputs(denoiser)
        out = denoiser(
            av.map(Tensor.float),
            times,
            {name: Condition(c.tokens.float(), c.mask) for name, c in conditions.items()},
        )
        (out.video.square().sum() + out.audio.square().sum()).backward()
        results.append((out, {name: p.grad for name, p in denoiser.named_parameters()}))
    (one, gradients), (two, others) = results
    for s in STREAMS:
        torch.testing.assert_close(one[s], two[s], rtol=1e-4, atol=1e-5)
    assert gradients.keys() == others.keys()  # compiling a block renames nothing
    for name, gradient in gradients.items():
        assert (gradient is None) == (others[name] is None), name
        if gradient is not None:
            assert (gradient - others[name]).norm() <= 1e-4 * gradient.norm() + 1e-5, name


@pytest.mark.parametrize("recompute", ["all", "all_but_attention"])
@pytest.mark.parametrize(("interaction", "audio"), [("gldi", "mmdit"), ("global", "cross")])
def test_recomputing_layers_saves_memory_and_changes_nothing(
    interaction: str, audio: str, recompute: str
) -> None:
    stored, gradients = [], []
    for setting in ("nothing", recompute):
        denoiser = build(interaction, audio, recompute=setting)
        block, streams, tables = layer(denoiser)
        weights = {p.untyped_storage().data_ptr() for p in denoiser.parameters()}
        sizes: list[int] = []

        def pack(x: Tensor, sizes: list[int] = sizes, weights: set[int] = weights) -> Tensor:
            sizes.append(0 if x.untyped_storage().data_ptr() in weights else x.numel())
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            out, _ = denoiser._recomputed(block)(streams, tables, AV())
        sum(out[s].hidden.square().sum() for s in STREAMS).backward()
        stored.append(sum(sizes))
        gradients.append({name: p.grad for name, p in denoiser.named_parameters()})
    # of the tensors in the graph; those of attention that the policy stores aren't in it
    assert stored[1] < stored[0] / 5
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient is None and other is None) or torch.equal(gradient, other), name


@pytest.mark.parametrize(("recompute", "again"), [("all", True), ("all_but_attention", False)])
def test_only_recompute_all_recomputes_attention(recompute: str, again: bool) -> None:
    """By the operators that the backward pass calls."""
    denoiser = build("global", "cross", recompute=recompute)
    out = denoiser(*inputs(denoiser))
    called: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            called.append(op.name())
            return op(*args, **(kwargs or {}))

    with Watch():
        (out.video.square().sum() + out.audio.square().sum()).backward()
    assert any("scaled_dot_product" in name and "backward" not in name for name in called) is again
    assert any("scaled_dot_product" in name and "backward" in name for name in called)


@pytest.mark.parametrize(("interaction", "audio"), PAIRS)
def test_a_float32_residual_stream_is_closer_to_float64(interaction: str, audio: str) -> None:
    """Wan's precision against Ovi's, both against float64 with the same rounded weights."""
    errors = {}
    for precision in ("float32", "weights"):
        denoiser = build(interaction, audio, precision).bfloat16()
        av, times, conditions = inputs(denoiser)
        rough = denoiser(
            av.map(Tensor.float),
            times,
            {n: Condition(c.tokens.float(), c.mask) for n, c in conditions.items()},
        )
        exact = denoiser.double()(av, times, conditions)
        errors[precision] = sum((rough[s] - exact[s]).norm() / exact[s].norm() for s in STREAMS)
    assert errors["float32"] < errors["weights"]
    assert errors["float32"] < 0.03  # several times bfloat16's 2^-9, over two layers

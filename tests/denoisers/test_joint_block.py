"""What a layer computes: gradients, symmetries, types, and that compiling or recomputing it changes
nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import attrs
import pytest
import torch
from torch import Tensor, nn
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


def awake(module: nn.Module, scale: float = 0.1) -> nn.Module:
    """Give every weight that starts at zero a value, so that all paths carry something."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=g) * scale)
    return module


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
    return awake(spec.build(codecs=CODECS, encoders={"all": StubEncoder(**widths)})).double()


def inputs(
    denoiser: BranchDenoiser, seed: int = 0
) -> tuple[AV[Tensor], AV[Times], dict[str, Condition]]:
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    mask = torch.arange(L) < torch.tensor([[L], [1]])
    told = {
        name: Condition(noise(B, L, {"caption": 5, "sound": 4, "voice": 3}[name]), mask)
        for name in denoiser.accepts
    }
    av = AV(noise(B, TV, 4, 2, 2), noise(B, TA, 3))
    first = torch.arange(TV).expand(B, -1) == 0
    values = AV(
        torch.tensor([0.7, 0.2], dtype=torch.float64), torch.tensor([0.7, 0.0], dtype=torch.float64)
    )
    times = values.map(lambda t, x: Times.uniform(t, x.shape[1]), av)
    return av, times.replace(video=times.video.clean_where(first)), told


def layer(denoiser: BranchDenoiser) -> tuple[JointBlock, AV[Tokens], object]:
    """A joint block, what enters it, and its tables."""
    av, times, told = inputs(denoiser)
    cache: dict[str, object] = {}
    streams = av.map(
        lambda x, t, s, c: denoiser.branches[s].embed(x, t, c),
        times,
        AV(*STREAMS),
        denoiser._project_conditions(av, told, cache),
    )
    return denoiser.blocks[0], streams, denoiser._interaction_tables(av)


@pytest.mark.parametrize(("interaction", "audio"), PAIRS)
def test_gradients_of_a_joint_block(interaction: str, audio: str) -> None:
    """Of hidden states, references, words, and every weight, against finite differences in
    float64.
    """
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


@pytest.mark.parametrize("audio", AUDIO)
def test_gradients_of_the_ends(audio: str) -> None:
    """Embeddings, times and heads of both branches: latents to tokens to velocities, without a
    layer between.
    """
    denoiser = build("none", audio)
    av, times, told = inputs(denoiser)
    for s in STREAMS:
        branch = denoiser.branches[s]
        own = {name: told[name] for name, port in denoiser.accepts.items() if port.stream == s}
        weights = {name: p.detach().requires_grad_() for name, p in branch.named_parameters()}

        def run(
            x: Tensor, *values: Tensor, branch=branch, own=own, names=tuple(weights), t=times[s]
        ) -> Tensor:
            return functional_call(
                Ends(branch), {f"branch.{n}": v for n, v in zip(names, values)}, (x, t, own)
            )

        assert gradcheck(
            run, (av[s].clone().requires_grad_(), *weights.values()), fast_mode=True, atol=1e-7
        )


class Ends(nn.Module):
    """A branch without its layers."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor, times: Times, told: dict[str, Condition]) -> Tensor:
        """Latents to velocities; what is told is added, so that its weights count too."""
        tokens = self.branch.embed(x, times, self.branch.project_conditions(told))
        words = 0 if tokens.context is None else tokens.context.mean()
        return self.branch.unembed(tokens, x.shape) + words


def test_tokens_of_a_frame_have_no_order_but_their_positions() -> None:
    """Permuted together with their rotary table, tokens of a frame come out permuted; local
    attention doesn't see their order at all.
    """
    denoiser = build("gldi", "mmdit")
    block, streams, tables = layer(denoiser)
    turned = torch.tensor([1, 0])
    video = replace(
        streams["video"],
        hidden=streams["video"].hidden[:, :, turned],
        rope=streams["video"].rope[:, turned],
    )
    (one, _), (two, _) = (
        block(streams, tables, AV()),
        block(streams.replace(video=video), tables, AV()),
    )
    torch.testing.assert_close(two["video"].hidden, one["video"].hidden[:, :, turned])
    torch.testing.assert_close(two["audio"].hidden, one["audio"].hidden)


@pytest.mark.parametrize(("interaction", "audio"), PAIRS)
def test_words_have_no_order_here(interaction: str, audio: str) -> None:
    """What gives words their order is their encoder."""
    denoiser = build(interaction, audio)
    av, times, told = inputs(denoiser)
    order = torch.tensor([2, 0, 1])
    shuffled = told | {
        name: Condition(told[name].tokens[:, order], told[name].mask[:, order])
        for name in ("caption", "sound")
    }
    one, two = denoiser(av, times, told), denoiser(av, times, shuffled)
    for s in STREAMS:
        torch.testing.assert_close(one[s], two[s])


@pytest.mark.parametrize("stream", STREAMS)
def test_a_latent_outside_the_window_has_no_influence(stream: str) -> None:
    """Exactly none, in both directions, on values and on gradients."""
    denoiser = build("gldi", "mmdit")
    block, streams, tables = layer(denoiser)
    other = "audio" if stream == "video" else "video"
    direction, cross = tables[stream], getattr(block.interaction, f"to_{stream}")
    reader, source = (
        streams[stream].hidden.detach(),
        streams[other].hidden.detach().requires_grad_(),
    )
    seen = direction.windows.mask(source.shape[1])
    assert not seen.all(), "windows that hold everything prove nothing"
    for i in range(reader.shape[1]):
        out = cross(reader, source, direction)
        (gradient,) = torch.autograd.grad(out[:, i].square().sum(), source)
        assert torch.equal(gradient.flatten(2).any(2).any(0), seen[i])


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
def test_a_joint_block_compiles_without_a_break(interaction: str, audio: str) -> None:
    denoiser = build(interaction, audio)
    av, times, told = inputs(denoiser)
    wanted = denoiser(av, times, told)
    torch._dynamo.reset()
    for block in denoiser.blocks:
        block.compile(fullgraph=True, backend="aot_eager")
    got = denoiser(av, times, told)
    assert all(torch.equal(wanted[s], got[s]) for s in STREAMS)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a C++ compiler makes every kernel
@pytest.mark.parametrize(("interaction", "audio"), [("gldi", "mmdit")])
def test_a_compiled_denoiser_computes_the_same(interaction: str, audio: str) -> None:
    """The setting itself, with inductor, forward and backward, in float32: equal but for the order
    of sums.
    """
    results = []
    for denoiser in (
        build(interaction, audio).float(),
        build(interaction, audio, compile=True).float(),
    ):
        av, times, told = inputs(denoiser)
        out = denoiser(
            av.map(Tensor.float),
            times,
            {name: Condition(c.tokens.float(), c.mask) for name, c in told.items()},
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
    kept, gradients = [], []
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
        kept.append(sum(sizes))
        gradients.append({name: p.grad for name, p in denoiser.named_parameters()})
    # of what the graph keeps; what a policy keeps of attention isn't in it
    assert kept[1] < kept[0] / 5
    for name, gradient in gradients[0].items():
        other = gradients[1][name]
        assert (gradient is None and other is None) or torch.equal(gradient, other), name


@pytest.mark.parametrize(("recompute", "again"), [("all", True), ("all_but_attention", False)])
def test_attention_is_computed_again_where_it_should_be(recompute: str, again: bool) -> None:
    """Seen in the operators that the backward pass calls."""
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
def test_float32_between_bfloat16_weights_is_nearer_to_the_truth(
    interaction: str, audio: str
) -> None:
    """Wan's precision against Ovi's, both against float64 with the same rounded weights."""
    errors = {}
    for precision in ("float32", "weights"):
        denoiser = build(interaction, audio, precision).bfloat16()
        av, times, told = inputs(denoiser)
        rough = denoiser(
            av.map(Tensor.float),
            times,
            {n: Condition(c.tokens.float(), c.mask) for n, c in told.items()},
        )
        exact = denoiser.double()(av, times, told)
        errors[precision] = sum((rough[s] - exact[s]).norm() / exact[s].norm() for s in STREAMS)
    assert errors["float32"] < errors["weights"]
    assert errors["float32"] < 0.03  # some of bfloat16's 2^-9, over two layers

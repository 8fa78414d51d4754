"""Contract checks of video and audio branches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV
from harmony_parts.branches.protocol import (
    AudioBranchSpec,
    Branch,
    BranchBlock,
    BranchSpec,
    How,
    Tokens,
    VideoBranchSpec,
)
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.errors import AssemblyError
from harmony_parts.testing.contracts.require import check_made, generator, require
from harmony_parts.testing.contracts.tested import Inputs, Tested, must_run, seeded
from harmony_parts.testing.contracts.velocities import (
    check_gradients,
    check_purity,
    check_velocities,
)

Ways = Mapping[str, tuple[How, int]]

CONDITIONS: Ways = {"words": ("context", 5), "sounds": ("context", 3), "mood": ("add", 4)}
STEPS = ("apply_self_attention", "apply_text_attention", "apply_feed_forward")


def check_video_branch(
    spec: VideoBranchSpec,
    *,
    channels: int = 4,
    grid: tuple[int, int] = (4, 8),
    latents: int = 3,
    conditions: Ways | None = None,
) -> Branch:
    """Build a video branch, check its contract, and return it for further tests.

    Give a spec of a small width. Two layers are run on three samples, each at its own times.
    `conditions`: name -> how it enters and its width; by default two contexts, one that is added,
    and a known latent, which the branch may ignore, since the denoiser puts it in place.

    Checked: torch modules; layers with their own weights; the grid and the shapes; the three steps
    of a layer change no tokens in place; a term of the text attention gets the queries, and one of
    zeros changes nothing; projected conditions can be cached; times are values[index]; conditions
    have an effect, masked tokens none, and there may be no condition; samples are independent;
    repeatability without global randomness; other lengths; weights in float64, bfloat16 and on the
    meta device; a gradient for every weight. Raises PartContractError.
    """
    check_made(spec)
    default: Ways = {**CONDITIONS, "image": ("clean_tokens", channels)}
    given = default if conditions is None else conditions
    return _check(BranchCase(spec, "video", channels, grid, latents, given))


def check_audio_branch(
    spec: AudioBranchSpec, *, channels: int = 4, latents: int = 7, conditions: Ways | None = None
) -> Branch:
    """Build an audio branch, check its contract as `check_video_branch` does, and return it.

    The default conditions include a clean reference, unless `build` raises AssemblyError for it.
    """
    check_made(spec)
    given = CONDITIONS if conditions is None else conditions
    case = BranchCase(spec, "audio", channels, (), latents, given)
    return _check(case if conditions is not None else case.with_reference())


@attrs.frozen
class BranchCase:
    """A branch spec and the arguments that it is built with."""

    spec: BranchSpec
    stream: str
    channels: int
    grid: tuple[int, ...]
    latents: int
    conditions: Ways

    def __call__(self) -> TwoLayers:
        """The branch with two layers, as a module from inputs to velocities."""
        return TwoLayers(self.branch(), self.stream)

    def branch(self) -> Branch:
        """The branch without layers."""
        return self.spec.build(channels=self.channels, grid=self.grid, conditions=self.conditions)

    def with_reference(self) -> BranchCase:
        """The case with a clean reference among the conditions, if the branch takes one."""
        voice: tuple[How, int] = ("clean_tokens", self.channels)
        more = attrs.evolve(self, conditions={**self.conditions, "voice": voice})
        try:
            seeded(cast(Any, more.branch))
        except AssemblyError:
            return self
        return more

    def tested(self) -> Tested:
        """The branch, built, with example inputs."""
        ports = {name: Port(self.stream, how) for name, (how, _) in self.conditions.items()}
        widths = {name: width for name, (_, width) in self.conditions.items()}
        shapes = AV(**{self.stream: (self.latents, *self.grid, self.channels)})
        return Tested.of(self.spec, self, Inputs.random(shapes, widths, ports), ports)


class TwoLayers(nn.Module):
    """A branch and two of its layers: inputs to velocities of its stream."""

    def __init__(self, branch: Branch, stream: str) -> None:
        super().__init__()
        self.branch, self.stream = cast(Any, branch), stream
        self.blocks = nn.ModuleList(cast(nn.Module, branch.block()) for _ in range(2))

    def forward(self, inputs: Inputs, projected: Any = None) -> AV[Tensor]:
        """Velocities; `projected`: cached conditions of an earlier call."""
        latents = inputs.av[self.stream]
        tokens = self.embed(inputs, projected)
        for block in self.blocks:
            for step in STEPS:
                tokens = getattr(block, step)(tokens)
        return AV(**{self.stream: self.branch.unembed(tokens, tuple(latents.shape))})

    def embed(self, inputs: Inputs, projected: Any = None) -> Tokens:
        """The tokens that enter the first layer."""
        if projected is None:
            projected = self.branch.project_conditions(inputs.conditions)
        tokens: Tokens = self.branch.embed(
            inputs.av[self.stream], inputs.times[self.stream], projected
        )
        return tokens


def _check(case: BranchCase) -> Branch:
    branch = seeded(cast(Any, case.branch))
    _check_form(case.spec, branch)
    tested = case.tested()
    with torch.no_grad():
        _check_tokens(case, tested)
        velocities = check_purity(tested)
        _check_projected(tested)
        _check_steps(tested)
    known = [name for name, port in tested.ports.items() if port == KNOWN_LATENTS]
    check_velocities(tested, velocities, unused=known)
    # nothing reads the last layer's reference and context
    check_gradients(tested, idle=["blocks.1.*"])
    with torch.no_grad():
        _check_no_conditions(case)
    return cast(Branch, branch)


def _check_no_conditions(case: BranchCase) -> None:
    with must_run(case.spec, "be built, and run, without any condition"):
        tested = attrs.evolve(case, conditions={}).tested()
        velocities = tested(tested.inputs)
        tokens = cast(TwoLayers, tested.module).embed(tested.inputs)
    tested.require_form(velocities, tested.inputs.av, " without any condition")
    _check_terms(tested, tokens, " if it has no conditions")


def _check_form(spec: BranchSpec, branch: Any) -> None:
    require(isinstance(branch, nn.Module), spec, "build a torch module")
    width, heads = getattr(branch, "width", None), getattr(branch, "heads", None)
    divided = isinstance(width, int) and isinstance(heads, int) and heads > 0 and width % heads == 0
    require(divided, spec, f"have a width that its heads divide, not {width!r} and {heads!r}")
    one, two = seeded(branch.block), seeded(branch.block)
    for block in (one, two):
        steps = isinstance(block, nn.Module) and all(
            callable(getattr(block, step, None)) for step in STEPS
        )
        require(steps, spec, f"make layers that are torch modules with {', '.join(STEPS)}")
    ids = [{id(weight) for weight in module.parameters()} for module in (branch, one, two)]
    disjoint = one is not two and len(set().union(*ids)) == sum(map(len, ids))
    require(
        disjoint,
        spec,
        "make a new layer in each call of block(), whose weights belong neither to another layer"
        " nor to the branch",
    )


def _check_tokens(case: BranchCase, tested: Tested) -> None:
    """Tokens per latent are as many as the grid has."""
    latents, branch = tested.inputs.av[case.stream], cast(Any, tested.module).branch
    with must_run(case.spec, "embed latents, given their times and projected conditions"):
        tokens = cast(TwoLayers, tested.module).embed(tested.inputs)
    rows, columns = branch.grid(tuple(latents.shape))
    shape = [*latents.shape[:2], rows * columns, branch.width]
    require(
        list(tokens.hidden.shape) == shape,
        case.spec,
        f"embed to hidden states [B, T, S, D] {shape}, S the product of its grid",
    )
    if case.stream == "audio":
        require(
            (rows, columns) == (1, 1),
            case.spec,
            "have a grid of (1, 1): one token per audio latent",
        )


def _check_projected(tested: Tested) -> None:
    """Projected conditions can be cached over steps."""
    layers, first = cast(TwoLayers, tested.module), tested.inputs
    projected = layers.branch.project_conditions(first.conditions)
    now = first.times[layers.stream]
    second = first.with_times(layers.stream, attrs.evolve(now, values=0.5 * now.values))
    for step in (first, second, first):
        cached, fresh = layers(step, projected), layers(step)
        require(
            torch.equal(cached[layers.stream], fresh[layers.stream]),
            tested.part,
            "return the same velocities with projected conditions of an earlier step: callers cache"
            " them",
        )


def _check_steps(tested: Tested) -> None:
    """The steps, in order, change nothing in place; terms are added after self-attention."""
    layers = cast(TwoLayers, tested.module)
    tokens = layers.embed(tested.inputs)
    for step in STEPS:
        run = getattr(layers.blocks[0], step)
        before = {name: x.clone() for name, x in _tensors(tokens)}
        after = run(tokens)
        pure = all(torch.equal(before[name], x) for name, x in _tensors(tokens)) and torch.equal(
            run(tokens).hidden, after.hidden
        )
        require(
            pure,
            tested.part,
            f"return new Tokens from {step}, and change its arguments in no way",
        )
        require(
            after.hidden.shape == tokens.hidden.shape and after.hidden.dtype == tokens.hidden.dtype,
            tested.part,
            f"keep shape and type of the hidden states in {step}",
        )
        if step == "apply_text_attention":
            _check_terms(tested, tokens)
        tokens = after


def _check_terms(tested: Tested, tokens: Tokens, when: str = "") -> None:
    """A term gets the queries once, adds nothing if it is zero, and else changes the tokens."""
    layers = cast(TwoLayers, tested.module)
    block = cast(BranchBlock, layers.blocks[0])
    called: list[list[int]] = []

    def zeros(q: Tensor) -> Tensor:
        called.append(list(q.shape))
        return torch.zeros_like(q)

    plain = block.apply_text_attention(tokens).hidden
    with must_run(tested.part, f"take a term in apply_text_attention{when}"):
        unchanged = block.apply_text_attention(tokens, zeros).hidden
    heads, width = layers.branch.heads, layers.branch.width
    queries = [*tokens.hidden.shape[:3], heads, width // heads]
    require(
        called == [queries],
        tested.part,
        f"call the term once in apply_text_attention, with queries {queries}{when}; the calls had"
        f" {called}",
    )
    require(
        torch.equal(unchanged, plain),
        tested.part,
        f"return the same with a term of zeros as with none{when}",
    )
    noise = torch.randn(queries, generator=generator(4))
    changed = block.apply_text_attention(tokens, lambda q: noise.to(q)).hidden
    require(
        not torch.equal(changed, plain),
        tested.part,
        f"add the term to the result of its text attention{when}",
    )


def _tensors(tokens: Tokens) -> Iterator[tuple[str, Tensor]]:
    """The tensors in tokens, without the modulation, whose form is the branch's."""
    for name in ("hidden", "rope", "context", "context_mask", "reference", "reference_mask"):
        value = getattr(tokens, name)
        if isinstance(value, Tensor):
            yield name, value

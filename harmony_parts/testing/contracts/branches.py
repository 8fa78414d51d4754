"""Contract checks of branches, of both streams."""

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
from harmony_parts.testing.contracts.require import generator, require
from harmony_parts.testing.contracts.velocities import (
    Asked,
    Question,
    check_answer,
    check_learning,
    check_velocities,
    runs,
    seeded,
)

Ways = Mapping[str, tuple[How, int]]

WORDS: Ways = {"words": ("context", 5), "sounds": ("context", 3), "mood": ("add", 4)}
STEPS = ("apply_self_attention", "apply_text_attention", "apply_feed_forward")


def check_video_branch(
    spec: VideoBranchSpec,
    *,
    channels: int = 4,
    grid: tuple[int, int] = (4, 8),
    latents: int = 3,
    conditions: Ways | None = None,
) -> Branch:
    """Build the branch and hold it to the contract of its kind; returns it, so that a test can go
    on from there.

    Give a spec of a small width. Checked, with two layers, for three samples at times of their own:
    torch modules, layers with weights of their own, the grid, shapes; `apply_self_attention`,
    `apply_text_attention` (a term gets the queries, and one of zeros changes nothing) and
    `apply_feed_forward` leave what they are given; kept `project_conditions`; times by value and
    index; conditions are heard, where their masks say so, and may be none; samples by themselves;
    the same again without a draw from the global generator; other lengths; float64, bfloat16 and
    meta weights; a gradient for every weight. `conditions`: name -> way and width, by default two
    contexts, one that is added, and a known latent, which the denoiser puts in itself, so that the
    branch needn't hear it. Raises PartContractError.
    """
    given = {**WORDS, "image": ("clean_tokens", channels)} if conditions is None else conditions
    return _check(Built(spec, "video", channels, grid, latents, given))


def check_audio_branch(
    spec: AudioBranchSpec, *, channels: int = 4, latents: int = 7, conditions: Ways | None = None
) -> Branch:
    """The same of a branch of sound. By default it is told of a clean reference too, unless its
    `build` raises AssemblyError for one.
    """
    given = Built(spec, "audio", channels, (), latents, WORDS if conditions is None else conditions)
    return _check(given if conditions is not None else given.with_reference())


@attrs.frozen
class Built:
    """A branch spec and what it is built for."""

    spec: BranchSpec
    stream: str
    channels: int
    grid: tuple[int, ...]
    latents: int
    conditions: Ways

    def __call__(self) -> Layers:
        """The branch, with two layers."""
        return Layers(self.branch(), self.stream)

    def branch(self) -> Branch:
        """The branch alone."""
        return self.spec.build(channels=self.channels, grid=self.grid, conditions=self.conditions)

    def with_reference(self) -> Built:
        """Told of a clean reference, where it takes one."""
        more = attrs.evolve(
            self, conditions={**self.conditions, "voice": ("clean_tokens", self.channels)}
        )
        try:
            seeded(cast(Any, more.branch))
        except AssemblyError:
            return self
        return more

    def asked(self) -> Asked:
        """Built, with a question."""
        ports = {name: Port(self.stream, how) for name, (how, _) in self.conditions.items()}
        widths = {name: width for name, (_, width) in self.conditions.items()}
        shapes = AV(**{self.stream: (self.latents, *self.grid, self.channels)})
        return Asked.of(self.spec, self, Question.about(shapes, widths, ports), ports)


class Layers(nn.Module):
    """A branch and two of its layers: latents of its stream to velocities."""

    def __init__(self, branch: Branch, stream: str) -> None:
        super().__init__()
        self.branch, self.stream = cast(Any, branch), stream
        self.blocks = nn.ModuleList(cast(nn.Module, branch.block()) for _ in range(2))

    def forward(self, question: Question, told: Any = None) -> AV[Tensor]:
        """Velocities; `project_conditions` may have been kept."""
        latents = question.av[self.stream]
        tokens = self.embed(question, told)
        for block in self.blocks:
            for step in STEPS:
                tokens = getattr(block, step)(tokens)
        return AV(**{self.stream: self.branch.unembed(tokens, tuple(latents.shape))})

    def embed(self, question: Question, told: Any = None) -> Tokens:
        """The tokens that enter the first layer."""
        told = self.branch.project_conditions(question.conditions) if told is None else told
        tokens: Tokens = self.branch.embed(
            question.av[self.stream], question.times[self.stream], told
        )
        return tokens


def _check(built: Built) -> Branch:
    branch = seeded(cast(Any, built.branch))
    _check_form(built.spec, branch)
    asked = built.asked()
    with torch.no_grad():
        _check_tokens(built, asked)
        answer = check_answer(asked)
        _check_told(asked)
        _check_steps(asked)
    check_velocities(
        asked, answer, silent=[name for name, port in asked.ports.items() if port == KNOWN_LATENTS]
    )
    # of the last layer, references and words are read by nobody
    check_learning(asked, idle=["blocks.1.*"])
    with torch.no_grad():
        with runs(built.spec, "be built, and answer, without any condition"):
            untold = attrs.evolve(built, conditions={}).asked()
            made = untold(untold.question)
            tokens = cast(Layers, untold.module).embed(untold.question)
        untold.formed(made, untold.question.av, " without any condition")
        _check_terms(untold, tokens, " where it has no conditions")
    return cast(Branch, branch)


def _check_form(spec: BranchSpec, branch: Any) -> None:
    require(isinstance(branch, nn.Module), spec, "build a torch module")
    width, heads = getattr(branch, "width", None), getattr(branch, "heads", None)
    whole = isinstance(width, int) and isinstance(heads, int) and heads > 0 and width % heads == 0
    require(whole, spec, f"have a width that its heads divide, not {width!r} and {heads!r}")
    one, two = seeded(branch.block), seeded(branch.block)
    for block in (one, two):
        steps = isinstance(block, nn.Module) and all(
            callable(getattr(block, step, None)) for step in STEPS
        )
        require(steps, spec, f"make layers that are torch modules with {', '.join(STEPS)}")
    ids = [{id(weight) for weight in module.parameters()} for module in (branch, one, two)]
    apart = one is not two and len(set().union(*ids)) == sum(map(len, ids))
    require(
        apart,
        spec,
        "make a new layer in each call of block(), with weights of its own that aren't the branch's"
        " either",
    )


def _check_tokens(built: Built, asked: Asked) -> None:
    """Tokens of one latent are those of the grid."""
    latents, branch = asked.question.av[built.stream], cast(Any, asked.module).branch
    with runs(
        built.spec,
        "embed latents at some times, told what `project_conditions` made of its conditions",
    ):
        tokens = cast(Layers, asked.module).embed(asked.question)
    rows, columns = branch.grid(tuple(latents.shape))
    want = [*latents.shape[:2], rows * columns, branch.width]
    require(
        list(tokens.hidden.shape) == want,
        built.spec,
        f"embed to hidden states [B, T, S, D] {want}, S the product of its grid",
    )
    if built.stream == "audio":
        require(
            (rows, columns) == (1, 1),
            built.spec,
            "have a grid of (1, 1): one token for each latent of sound",
        )


def _check_steps(asked: Asked) -> None:
    """Each step in turn: what it is given stays as it is. A term is for what `apply_self_attention`
    gave.
    """
    layers = cast(Layers, asked.module)
    tokens = layers.embed(asked.question)
    for step in STEPS:
        run = getattr(layers.blocks[0], step)
        before = {name: x.clone() for name, x in _tensors(tokens)}
        after = run(tokens)
        kept = all(torch.equal(before[name], x) for name, x in _tensors(tokens)) and torch.equal(
            run(tokens).hidden, after.hidden
        )
        require(
            kept,
            asked.part,
            f"return new Tokens from {step}, and leave those that it is given as they are: no"
            " change in place",
        )
        formed = (
            after.hidden.shape == tokens.hidden.shape and after.hidden.dtype == tokens.hidden.dtype
        )
        require(formed, asked.part, f"keep shape and type of the hidden states in {step}")
        if step == "apply_text_attention":
            _check_terms(asked, tokens)
        tokens = after


def _check_terms(asked: Asked, tokens: Tokens, when: str = "") -> None:
    """What `apply_text_attention` does with a term."""
    layers = cast(Layers, asked.module)
    block = cast(BranchBlock, layers.blocks[0])
    seen: list[list[int]] = []

    def zeros(q: Tensor) -> Tensor:
        seen.append(list(q.shape))
        return torch.zeros_like(q)

    plain = block.apply_text_attention(tokens).hidden
    with runs(asked.part, f"take a term in `apply_text_attention`{when}"):
        still = block.apply_text_attention(tokens, zeros).hidden
    want = [
        *tokens.hidden.shape[:3],
        layers.branch.heads,
        layers.branch.width // layers.branch.heads,
    ]
    require(
        seen == [want],
        asked.part,
        f"call the term once in `apply_text_attention`, with queries {want}{when}, not {seen}",
    )
    require(
        torch.equal(still, plain),
        asked.part,
        f"read the same with a term of zeros as with none{when}",
    )
    noise = torch.randn(want, generator=generator(4))
    changed = not torch.equal(
        block.apply_text_attention(tokens, lambda q: noise.to(q)).hidden, plain
    )
    require(changed, asked.part, f"add the term to what `apply_text_attention` hears{when}")


def _check_told(asked: Asked) -> None:
    """What is told may be kept over steps."""
    layers, first = cast(Layers, asked.module), asked.question
    told = layers.branch.project_conditions(first.conditions)
    now = first.times[layers.stream]
    second = first.at(layers.stream, attrs.evolve(now, values=0.5 * now.values))
    for each in (first, second, first):
        kept, fresh = layers(each, told), layers(each)
        equal = torch.equal(kept[layers.stream], fresh[layers.stream])
        require(
            equal,
            asked.part,
            "answer the same with projected conditions of an earlier step: a caller caches them",
        )


def _tensors(tokens: Tokens) -> Iterator[tuple[str, Tensor]]:
    """Those of a stream that everybody knows."""
    for name in ("hidden", "rope", "context", "context_mask", "reference", "reference_mask"):
        value = getattr(tokens, name)
        if isinstance(value, Tensor):
            yield name, value

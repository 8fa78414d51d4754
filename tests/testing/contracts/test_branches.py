"""The contract of branches: what ships keeps it, and each of its points can be broken."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch

from harmony_parts.av import Condition, Times
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.errors import PartContractError
from harmony_parts.testing.contracts.branches import check_audio_branch, check_video_branch

VIDEO = VideoTransformer(width=24, heads=2, feed=32, patch=4)
MMDIT = MMDiT(width=16, heads=2, feed=32)
CROSS = CrossAudio(width=16, heads=2, feed=32)


@pytest.mark.parametrize(
    "spec",
    [VIDEO, attrs.evolve(VIDEO, patch=1), attrs.evolve(VIDEO, patch=2, precision="weights")],
    ids=repr,
)
def test_video_branches_keep_it(spec: VideoTransformer) -> None:
    check_video_branch(spec)


@pytest.mark.parametrize(
    "spec",
    [*(attrs.evolve(s, precision=p) for s in (MMDIT, CROSS) for p in ("float32", "weights"))],
    ids=repr,
)
def test_audio_branches_keep_it(spec: MMDiT | CrossAudio) -> None:
    # told of a voice where it can be
    assert (check_audio_branch(spec).listener.ways.get("voice") is None) == isinstance(
        spec, CrossAudio
    )


def test_conditions_may_be_chosen() -> None:
    assert check_video_branch(
        VIDEO, conditions={"pose": ("context", 3)}, channels=2, grid=(4, 4), latents=2
    ).listener.ways == {"pose": "context"}


# --- broken ones ----------------------------------------------------------------------------------

Change = Callable[[Any], Any]


@attrs.frozen
class Broken:
    """A branch with one fault."""

    inner: Any
    change: Change

    def build(self, *, channels: int, grid: tuple[int, ...], conditions: Any) -> Any:
        """The inner one, changed; what `change` returns, where it returns something."""
        branch = self.inner.build(channels=channels, grid=grid, conditions=conditions)
        return self.change(branch) or branch


def method(name: str, other: Callable[..., Any]) -> Change:
    """A fault of a method: `other` is called with the real one, then with the arguments."""

    def change(branch: Any) -> None:
        real = getattr(branch, name)
        setattr(branch, name, lambda *given: other(real, *given))

    return change


def step(name: str, other: Callable[..., Any]) -> Change:
    """The same of a step of each layer."""
    return method("block", lambda real: _changed(real(), method(name, other)))


def _changed(module: Any, change: Change) -> Any:
    change(module)
    return module


def times(other: Callable[[Times], Times]) -> Change:
    """What `embed` makes of times."""
    return method("embed", lambda real, x, t, told: real(x, other(t), told))


def said(other: Callable[[Condition], Condition], only: str = "") -> Change:
    """What `project_conditions` makes of conditions."""
    return method(
        "project_conditions",
        lambda real, given: real({n: other(c) if only in n else c for n, c in given.items()}),
    )


def out(other: Callable[[Any, Any], Any]) -> Change:
    """A fault in what comes out, of the branch's own memory and the velocities."""

    def change(branch: Any) -> None:
        memory, real = (
            SimpleNamespace(made=torch.ones(()), first=None, number=next(COUNT)),
            branch.unembed,
        )
        branch.unembed = lambda tokens, shape: other(memory, real(tokens, shape))

    return change


COUNT = itertools.count()


def hidden(other: Callable[[Any], Any]) -> Callable[..., Any]:
    """Of a method that returns tokens."""
    return lambda real, *given: _with(real(*given), other)


def _with(tokens: Any, other: Callable[[Any], Any]) -> Any:
    return replace(tokens, hidden=other(tokens.hidden))


def longer(memory: Any, v: Any) -> Any:
    """It remembers the longest clip."""
    memory.first = max(memory.first or 0, v.shape[1])
    return v + memory.first


def as_first(memory: Any, v: Any) -> Any:
    """It can't do another number of latents than the first time."""
    memory.first = memory.first or v.shape[1]
    assert memory.first == v.shape[1], "made for another length"
    return v


def kept(memory: Any, v: Any) -> Any:
    """A factor that is made once, wherever that is."""
    memory.first = (
        2 * torch.ones_like(v)
        if memory.first is None or memory.first.shape != v.shape
        else memory.first
    )
    return v * memory.first.to(v)


def in_place(real: Any, tokens: Any, *given: Any) -> Any:
    """It adds to what it is given."""
    made = real(replace(tokens, hidden=tokens.hidden.clone()), *given)
    tokens.hidden.add_(1)
    return made


def spoilt(real: Any, tokens: Any, *given: Any) -> Any:
    """It changes the modulation for those who come after."""
    made = real(tokens, *given)
    tokens.modulation.six.add_(0.1)
    return made


def halved(real: Any, latents: Any, times: Any, told: Any) -> Any:
    """It spoils what was told, which is kept."""
    made = real(latents, times, attrs.evolve(told, context=told.context.clone()))
    told.context.mul_(0.5)
    return made


def wet(real: Any, tokens: Any, term: Any = None) -> Any:
    """Where there is no text, the output's bias comes in with a term."""
    made = real(tokens, term)
    return (
        made
        if tokens.context is not None or term is None
        else replace(made, hidden=made.hidden + 0.1)
    )


def picky(branch: Any) -> None:
    """It must be told something."""
    assert branch.listener.ways, "nothing to say"


def extra(branch: Any) -> None:
    """A weight on a device of its own choice."""
    branch.extra = torch.nn.Parameter(torch.zeros(1, device="cpu"), requires_grad=False)


def two_tokens(branch: Any) -> None:
    """Two tokens for each latent of sound."""
    method("embed", hidden(lambda x: x.expand(-1, -1, 2, -1)))(branch)
    branch.grid = lambda shape: (2, 1)


def one_block(branch: Any) -> None:
    """The same layer again and again."""
    block = branch.block()
    branch.block = lambda: block


def no_step(branch: Any) -> None:
    """A layer without its last step."""
    real = branch.block
    branch.block = lambda: SimpleNamespace(
        apply_self_attention=real().apply_self_attention,
        apply_text_attention=real().apply_text_attention,
    )


def scaled(factor: float, dtype: torch.dtype) -> Change:
    """Wrong in one type."""
    return out(lambda memory, v: v * factor if v.dtype == dtype else v)


def masked(change: Callable[[Condition], Any], only: str = "") -> Change:
    """Tokens changed."""
    return said(lambda c: attrs.evolve(c, tokens=change(c)), only)


def empty(c: Condition) -> Any:
    """NaN where nothing counts, as a mean without a guard is."""
    return c.tokens / c.mask.any(1).float()[:, None, None]


VIDEO_FAULTS: list[tuple[Change, str]] = [
    (lambda branch: SimpleNamespace(width=branch.width), "build a torch module"),
    (lambda branch: setattr(branch, "heads", 5), "its heads divide"),
    (
        no_step,
        "layers that are torch modules with apply_self_attention, apply_text_attention, apply_feed",
    ),
    (one_block, "a new layer in each call"),
    (method("grid", lambda real, shape: (1, 1)), "S the product of its grid"),
    (method("embed", hidden(lambda x: x.flatten(1, 2))), "embed to hidden states"),
    (method("embed", lambda real, *given: 1 / 0), "embed latents at some times.*ZeroDivisionError"),
    (
        method("unembed", lambda real, *given: 1 / 0),
        "answer latents, times and conditions with velocities; it raised",
    ),
    (out(lambda memory, v: v[:, 1:]), "velocities of the video of the latents' shape"),
    (out(lambda memory, v: v / 0), "give finite velocities"),
    (
        method("embed", lambda real, x, t, told: real(x.add_(0.1), t, told)),
        "leave the latents, times and conditions",
    ),
    (
        step("apply_self_attention", hidden(lambda x: torch.dropout(x, 0.1, train=True))),
        "torch's global one",
    ),
    (out(lambda memory, v: v + next(COUNT)), "the same with the same, to the last bit"),
    (
        lambda branch: setattr(
            branch, "bias", torch.nn.Parameter(torch.full((1,), next(COUNT) * 1.0))
        ),
        "draw its first weights from torch's global generator",
    ),
    (
        method("embed", hidden(lambda x: x - x.mean(0))),
        "each sample of a batch what it gives it alone",
    ),
    (
        said(lambda c: attrs.evolve(c, mask=torch.ones_like(c.mask))),
        "not hear tokens of 'mood' where its mask is False; ",
    ),
    (
        masked(lambda c: c.tokens * (1 + c.tokens.shape[1])),
        "not hear tokens of .* however many there are",
    ),
    (masked(empty, "words"), "finite velocities of the video where no token of 'words' counts"),
    (
        masked(lambda c: c.tokens.view(-1).view(c.tokens.shape), "words"),
        "answer for the null form of 'words'; it raised",
    ),
    (masked(lambda c: 0 * c.tokens, "mood"), "hear the condition 'mood'"),
    (
        times(lambda t: Times.uniform(t.values[:, 0], t.index.shape[1])),
        "the time of each latent of the video as values",
    ),
    (times(lambda t: Times(0 * t.values, t.index)), "hear the time of the video"),
    (
        times(lambda t: Times.uniform(t.per_latent()[:, 0], t.index.shape[1])),
        "hear the time of each latent",
    ),
    (times(lambda t: Times(t.values.view(-1, 1), t.index)), "take Times of several values"),
    (out(as_first), "answer other numbers of latents than before"),
    (out(longer), "answer as before after a longer clip"),
    (
        out(lambda memory, v: v @ torch.eye(v.shape[-1])),
        r"answer after .to\(torch.float64\), with latents of torch.float64; it raised",
    ),
    (out(lambda memory, v: v.float()), "velocities of torch.float64 or torch.float64 after"),
    (scaled(1.001, torch.float64), r"compute the same after .to\(torch.float64\).*of the largest"),
    (scaled(1.5, torch.bfloat16), r"compute the same after .to\(torch.bfloat16\).*of the norm"),
    (out(lambda memory, v: v * (2 if v.any() else 1)), "answer, on the meta device"),
    (extra, "make all tensors where torch.device says; elsewhere are branch.extra"),
    (
        out(lambda memory, v: v * memory.made.to(v.dtype)),
        "be as before with its saved weights in a new one",
    ),
    (
        out(lambda memory, v: v * (1 + 1e-6 * memory.number)),
        "answer the same with the same weights in a new one",
    ),
    (method("embed", halved), "with projected conditions of an earlier step"),
    *(
        (step(name, in_place), f"return new Tokens from {name}")
        for name in ("apply_self_attention", "apply_text_attention", "apply_feed_forward")
    ),
    (step("apply_self_attention", spoilt), "return new Tokens from apply_self_attention"),
    (
        step("apply_feed_forward", hidden(torch.Tensor.double)),
        "keep shape and type of the hidden states in apply_feed_forward",
    ),
    (
        step(
            "apply_text_attention",
            lambda real, tokens, term=None: real(
                tokens, term and (lambda q: term(q.flatten(3)).view_as(q))
            ),
        ),
        "with queries",
    ),
    (
        step(
            "apply_text_attention",
            lambda real, tokens, term=None: real(tokens, term and (lambda q: term(q) + term(q))),
        ),
        "call the term once in `apply_text_attention`",
    ),
    (
        step(
            "apply_text_attention",
            lambda real, tokens, term=None: real(tokens, term and (lambda q: term(q) + 1)),
        ),
        "with a term of zeros as with none",
    ),
    (
        step(
            "apply_text_attention",
            lambda real, tokens, term=None: real(tokens, term and (lambda q: 0 * term(q))),
        ),
        "add the term to what `apply_text_attention` hears",
    ),
    (
        step("apply_text_attention", lambda real, tokens: real(tokens)),
        "take a term in `apply_text_attention`",
    ),
    (out(kept), "learn after a call in torch.inference_mode"),
    (
        method("embed", hidden(torch.Tensor.detach)),
        "give each weight a gradient.*none reaches branch.patch_embedding",
    ),
    (picky, "be built, and answer, without any condition"),
    (
        step("apply_text_attention", wet),
        "with a term of zeros as with none where it has no conditions",
    ),
]


def _ids(faults: list[tuple[Change, str]]) -> list[str]:
    return [must for _, must in faults]


@pytest.mark.parametrize(("change", "must"), VIDEO_FAULTS, ids=_ids(VIDEO_FAULTS))
def test_a_broken_video_branch_is_found(change: Change, must: str) -> None:
    with pytest.raises(PartContractError, match=f"must .*{must}"):
        check_video_branch(Broken(VIDEO, change))


def voiced(other: Callable[[Condition], Condition]) -> Change:
    """A fault in what is made of the clean reference alone."""
    return said(other, "voice")


AUDIO_FAULTS: list[tuple[Change, str]] = [
    (two_tokens, r"have a grid of \(1, 1\)"),
    (voiced(lambda c: attrs.evolve(c, mask=torch.ones_like(c.mask))), "not hear tokens of 'voice'"),
    (
        voiced(lambda c: attrs.evolve(c, mask=torch.zeros_like(c.mask))),
        "hear the condition 'voice'",
    ),
    (step("apply_feed_forward", in_place), "return new Tokens from apply_feed_forward"),
    (times(lambda t: Times(0 * t.values, t.index)), "hear the time of the audio"),
]


@pytest.mark.parametrize(("change", "must"), AUDIO_FAULTS, ids=_ids(AUDIO_FAULTS))
def test_a_broken_audio_branch_is_found(change: Change, must: str) -> None:
    with pytest.raises(PartContractError, match=f"must .*{must}"):
        check_audio_branch(Broken(MMDIT, change))


def test_dropout_is_for_training() -> None:
    """A branch may have it: what is checked is the branch in use."""

    def drops(block: Any) -> None:
        real, block.dropout = block.apply_self_attention, torch.nn.Dropout(0.5)
        block.apply_self_attention = lambda tokens: _with(real(tokens), block.dropout)

    check_video_branch(Broken(VIDEO, method("block", lambda real: _changed(real(), drops))))

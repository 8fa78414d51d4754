"""Each point of the contract of branches, broken by a faulty branch."""

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
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.errors import PartContractError
from harmony_parts.testing.contracts.branches import check_audio_branch, check_video_branch

VIDEO = VideoTransformer(width=24, heads=2, feed=32, patch=4)
MMDIT = MMDiT(width=16, heads=2, feed=32)

Change = Callable[[Any], Any]


@attrs.frozen
class Broken:
    """A branch with one fault."""

    inner: Any
    change: Change

    def build(self, *, channels: int, grid: tuple[int, ...], conditions: Any) -> Any:
        """The inner branch, changed in place, or what `change` returns."""
        branch = self.inner.build(channels=channels, grid=grid, conditions=conditions)
        return self.change(branch) or branch


def method(name: str, other: Callable[..., Any]) -> Change:
    """Replace a method: `other` gets the original one, then its arguments."""

    def change(branch: Any) -> None:
        real = getattr(branch, name)
        setattr(branch, name, lambda *given: other(real, *given))

    return change


def step(name: str, other: Callable[..., Any]) -> Change:
    """Replace a step of each layer, as `method` does."""
    return method("block", lambda real: _changed(real(), method(name, other)))


def _changed(module: Any, change: Change) -> Any:
    change(module)
    return module


def times(other: Callable[[Times], Times]) -> Change:
    """Replace the times that `embed` gets."""
    return method("embed", lambda real, x, t, projected: real(x, other(t), projected))


def conditions(other: Callable[[Condition], Condition], only: str = "") -> Change:
    """Replace the conditions (with `only` in their name) that `project_conditions` gets."""
    return method(
        "project_conditions",
        lambda real, given: real({n: other(c) if only in n else c for n, c in given.items()}),
    )


def out(other: Callable[[Any, Any], Any]) -> Change:
    """Replace the velocities: `other` gets a memory of the branch, and them."""

    def change(branch: Any) -> None:
        memory, real = (
            SimpleNamespace(made=torch.ones(()), first=None, number=next(COUNT)),
            branch.unembed,
        )
        branch.unembed = lambda tokens, shape: other(memory, real(tokens, shape))

    return change


COUNT = itertools.count()


def hidden(other: Callable[[Any], Any]) -> Callable[..., Any]:
    """Replace the hidden states of the tokens that a method returns."""
    return lambda real, *given: _with(real(*given), other)


def _with(tokens: Any, other: Callable[[Any], Any]) -> Any:
    return replace(tokens, hidden=other(tokens.hidden))


def adds_the_longest_length(memory: Any, v: Any) -> Any:
    """It adds the length of the longest clip so far."""
    memory.first = max(memory.first or 0, v.shape[1])
    return v + memory.first


def keeps_the_first_length(memory: Any, v: Any) -> Any:
    """It fails for another number of latents than the first."""
    memory.first = memory.first or v.shape[1]
    assert memory.first == v.shape[1], "made for another length"
    return v


def caches_a_factor(memory: Any, v: Any) -> Any:
    """A tensor that is cached, even if it was made in inference mode."""
    memory.first = (
        2 * torch.ones_like(v)
        if memory.first is None or memory.first.shape != v.shape
        else memory.first
    )
    return v * memory.first.to(v)


def in_place(real: Any, tokens: Any, *given: Any) -> Any:
    """It changes hidden states in place."""
    made = real(replace(tokens, hidden=tokens.hidden.clone()), *given)
    tokens.hidden.add_(1)
    return made


def changes_modulation(real: Any, tokens: Any, *given: Any) -> Any:
    """It changes the modulation in place."""
    made = real(tokens, *given)
    tokens.modulation.six.add_(0.1)
    return made


def changes_projected(real: Any, latents: Any, times: Any, projected: Any) -> Any:
    """It changes projected conditions in place."""
    made = real(latents, times, attrs.evolve(projected, context=projected.context.clone()))
    projected.context.mul_(0.5)
    return made


def adds_bias_with_term(real: Any, tokens: Any, term: Any = None) -> Any:
    """Without text, a term adds the output bias."""
    made = real(tokens, term)
    return (
        made
        if tokens.context is not None or term is None
        else replace(made, hidden=made.hidden + 0.1)
    )


def needs_conditions(branch: Any) -> None:
    """It can't be built without conditions."""
    assert branch.listener.ways, "no conditions"


def ignores_the_device(branch: Any) -> None:
    """A weight is always on the CPU."""
    branch.extra = torch.nn.Parameter(torch.zeros(1, device="cpu"), requires_grad=False)


def two_tokens(branch: Any) -> None:
    """Two tokens per audio latent."""
    method("embed", hidden(lambda x: x.expand(-1, -1, 2, -1)))(branch)
    branch.grid = lambda shape: (2, 1)


def one_block(branch: Any) -> None:
    """Every call returns the same layer."""
    block = branch.block()
    branch.block = lambda: block


def no_step(branch: Any) -> None:
    """Layers lack their last step."""
    real = branch.block
    branch.block = lambda: SimpleNamespace(
        apply_self_attention=real().apply_self_attention,
        apply_text_attention=real().apply_text_attention,
    )


def scaled(factor: float, dtype: torch.dtype) -> Change:
    """Scale velocities in one type."""
    return out(lambda memory, v: v * factor if v.dtype == dtype else v)


def masked(change: Callable[[Condition], Any], only: str = "") -> Change:
    """Replace the tokens of conditions."""
    return conditions(lambda c: attrs.evolve(c, tokens=change(c)), only)


def unguarded_mean(c: Condition) -> Any:
    """NaN if no token counts, as in a mean without a guard."""
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
    (method("embed", lambda real, *given: 1 / 0), "embed latents, given.*ZeroDivisionError"),
    (
        method("unembed", lambda real, *given: 1 / 0),
        "take latents, times and conditions, and return velocities; it raised",
    ),
    (out(lambda memory, v: v[:, 1:]), "velocities of the video in the latents' shape"),
    (out(lambda memory, v: v / 0), "return finite velocities"),
    (
        method("embed", lambda real, x, t, projected: real(x.add_(0.1), t, projected)),
        "change none of its latents, times and conditions",
    ),
    (
        step("apply_self_attention", hidden(lambda x: torch.dropout(x, 0.1, train=True))),
        "torch's global one",
    ),
    (
        out(lambda memory, v: v + next(COUNT)),
        "the same velocities for the same inputs, bit for bit",
    ),
    (
        lambda branch: setattr(
            branch, "bias", torch.nn.Parameter(torch.full((1,), next(COUNT) * 1.0))
        ),
        "initialise its weights from torch's global generator",
    ),
    (
        method("embed", hidden(lambda x: x - x.mean(0))),
        "keep the samples of a batch independent",
    ),
    (
        conditions(lambda c: attrs.evolve(c, mask=torch.ones_like(c.mask))),
        "ignore tokens of 'mood' where its mask is False; ",
    ),
    (
        masked(lambda c: c.tokens * (1 + c.tokens.shape[1])),
        "ignore tokens of .* however many there are",
    ),
    (
        masked(unguarded_mean, "words"),
        "finite velocities of the video if all tokens of 'words' are masked",
    ),
    (
        masked(lambda c: c.tokens.view(-1).view(c.tokens.shape), "words"),
        "run for the null form of 'words'; it raised",
    ),
    (masked(lambda c: 0 * c.tokens, "mood"), "use the condition 'mood'"),
    (
        times(lambda t: Times.uniform(t.values[:, 0], t.index.shape[1])),
        "the time of each latent of the video as values",
    ),
    (times(lambda t: Times(0 * t.values, t.index)), "use the time of the video"),
    (
        times(lambda t: Times.uniform(t.per_latent()[:, 0], t.index.shape[1])),
        "use the time of each latent",
    ),
    (times(lambda t: Times(t.values.view(-1, 1), t.index)), "take Times of several values"),
    (out(keeps_the_first_length), "take another number of latents than before"),
    (out(adds_the_longest_length), "return the same velocities after a longer clip"),
    (
        out(lambda memory, v: v @ torch.eye(v.shape[-1])),
        r"run after .to\(torch.float64\), with latents of torch.float64; it raised",
    ),
    (out(lambda memory, v: v.float()), "velocities of torch.float64 or torch.float64 after"),
    (scaled(1.001, torch.float64), r"compute the same after .to\(torch.float64\).*of the largest"),
    (scaled(1.5, torch.bfloat16), r"compute the same after .to\(torch.bfloat16\).*of the norm"),
    (out(lambda memory, v: v * (2 if v.any() else 1)), "run, on the meta device"),
    (ignores_the_device, "on torch's default device; on another one are branch.extra"),
    (
        out(lambda memory, v: v * memory.made.to(v.dtype)),
        "run with saved weights in a new module",
    ),
    (
        out(lambda memory, v: v * (1 + 1e-6 * memory.number)),
        "return the same velocities from a new module",
    ),
    (method("embed", changes_projected), "with projected conditions of an earlier step"),
    *(
        (step(name, in_place), f"return new Tokens from {name}")
        for name in ("apply_self_attention", "apply_text_attention", "apply_feed_forward")
    ),
    (
        step("apply_self_attention", changes_modulation),
        "return new Tokens from apply_self_attention",
    ),
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
        "call the term once in apply_text_attention",
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
        "add the term to the result of its text attention",
    ),
    (
        step("apply_text_attention", lambda real, tokens: real(tokens)),
        "take a term in apply_text_attention",
    ),
    (out(caches_a_factor), "be trainable after a call in torch.inference_mode"),
    (
        method("embed", hidden(torch.Tensor.detach)),
        "give each weight a gradient.*none reaches branch.patch_embedding",
    ),
    (needs_conditions, "be built, and run, without any condition"),
    (
        step("apply_text_attention", adds_bias_with_term),
        "with a term of zeros as with none if it has no conditions",
    ),
]


def _ids(faults: list[tuple[Change, str]]) -> list[str]:
    return [must for _, must in faults]


@pytest.mark.parametrize(("change", "must"), VIDEO_FAULTS, ids=_ids(VIDEO_FAULTS))
def test_a_broken_video_branch_is_found(change: Change, must: str) -> None:
    with pytest.raises(PartContractError, match=f"must .*{must}"):
        check_video_branch(Broken(VIDEO, change))


def reference(other: Callable[[Condition], Condition]) -> Change:
    """Replace only the clean reference."""
    return conditions(other, "voice")


AUDIO_FAULTS: list[tuple[Change, str]] = [
    (two_tokens, r"have a grid of \(1, 1\)"),
    (
        reference(lambda c: attrs.evolve(c, mask=torch.ones_like(c.mask))),
        "ignore tokens of 'voice'",
    ),
    (
        reference(lambda c: attrs.evolve(c, mask=torch.zeros_like(c.mask))),
        "use the condition 'voice'",
    ),
    (step("apply_feed_forward", in_place), "return new Tokens from apply_feed_forward"),
    (times(lambda t: Times(0 * t.values, t.index)), "use the time of the audio"),
]


@pytest.mark.parametrize(("change", "must"), AUDIO_FAULTS, ids=_ids(AUDIO_FAULTS))
def test_a_broken_audio_branch_is_found(change: Change, must: str) -> None:
    with pytest.raises(PartContractError, match=f"must .*{must}"):
        check_audio_branch(Broken(MMDIT, change))

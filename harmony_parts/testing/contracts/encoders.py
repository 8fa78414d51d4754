"""Contract check of encoders, for any test suite: `check_encoder(MyEncoder(), format, codecs)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.encoders.protocol import Encoder, EncoderSpec
from harmony_parts.errors import PartContractError
from harmony_parts.testing.contracts.require import check_made

TOLERANCE = 2e-5
"""Allowed difference between a sample alone and in a batch, for values of unit scale: float32 sums
of 10^3 terms in another order.
"""


def example_prompts(format: Format, seed: int = 0) -> list[Prompt]:
    """Prompts with all fields, of several lengths and scripts; the last one is empty.

    Images and voices are noise in the model's format.
    """
    generator = torch.Generator().manual_seed(seed)
    texts = ["a dog barks twice", "雨が屋根に降る", "é" * 200, ""]

    def image() -> Tensor:
        return torch.randint(
            256, (format.height, format.width, 3), generator=generator, dtype=torch.uint8
        )

    def voice(seconds: float) -> Tensor:
        samples = max(1, round(seconds * format.sample_rate))
        return torch.rand(format.channels, samples, generator=generator) - 0.5

    full = [
        Prompt(text, text, text, image(), voice(0.2 + 0.3 * row)) for row, text in enumerate(texts)
    ]
    return [*full, Prompt()]


def check_encoder(
    spec: EncoderSpec,
    format: Format,
    codecs: AV[VideoCodec | AudioCodec],
    *,
    prompts: Sequence[Prompt] | None = None,
    tolerance: float = TOLERANCE,
) -> Encoder:
    """Build the encoder and check the contract of its kind; returns it in eval mode.

    Checked: it is a torch module; names and widths are those of `produces`; shapes, types and
    masks; all values are finite, also outside the mask; the null form has the same shapes, is equal
    for all samples, and is the result for an empty prompt; a sample's tokens don't depend on the
    rest of the batch; the same prompts give the same tokens, without a draw from the global
    generator; every trainable weight gets a gradient. `prompts` replaces those of
    `example_prompts`, for an encoder that reads `extra`; the last one must lack the encoder's
    field. Raises PartContractError naming the failed check.
    """
    check_made(spec)
    prompts = example_prompts(format) if prompts is None else list(prompts)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = spec.build(format=format, codecs=codecs)
    who = type(encoder).__name__
    _require(isinstance(encoder, nn.Module), f"{who} isn't a torch module")
    assert isinstance(encoder, nn.Module)
    encoder.eval()
    batch = _check_batch(who, encoder, prompts)
    _check_independence(who, encoder, prompts, batch, tolerance)
    _check_empty(who, encoder, prompts[-1])
    _check_gradients(who, encoder, prompts)
    return encoder


def _check_batch(who: str, encoder: Any, prompts: Sequence[Prompt]) -> Mapping[str, Condition]:
    """Check names and shapes of the conditions of all prompts, and return them."""
    produces = getattr(encoder, "produces", None)
    _require(
        isinstance(produces, Mapping) and bool(produces),
        f"{who}.produces must map the name of each condition to the width of its tokens, not"
        f" {produces!r}",
    )
    batch: Mapping[str, Condition] = encoder(prompts)
    _require(
        isinstance(batch, Mapping),
        f"{who} gives a {type(batch).__name__}; a mapping of names to Conditions is expected",
    )
    _require(
        set(batch) == set(encoder.produces),
        f"{who} gives {sorted(batch)}, but produces {sorted(encoder.produces)}",
    )
    for name, condition in batch.items():
        _check_form(f"{who}: {name!r}", condition, len(prompts), encoder.produces[name])
    return batch


def _check_independence(
    who: str,
    encoder: Any,
    prompts: Sequence[Prompt],
    batch: Mapping[str, Condition],
    tolerance: float,
) -> None:
    """Encode again, alone and in reverse order; tokens must be those of `batch`."""
    before = torch.get_rng_state()
    again = encoder(prompts)
    _require(
        torch.equal(before, torch.get_rng_state()),
        f"{who} draws from torch's global generator; a call must not",
    )
    _same(f"{who}, called twice", batch, again, range(len(prompts)), 0.0)
    alone = [encoder([prompt]) for prompt in prompts]
    for row, one in enumerate(alone):
        _same(f"{who}: prompt {row} alone and in a batch", batch, one, [row], tolerance)
    reordered = encoder(list(reversed(prompts)))
    _same(
        f"{who}: a batch in reverse order",
        batch,
        reordered,
        range(len(prompts) - 1, -1, -1),
        tolerance,
    )


def _check_empty(who: str, encoder: Any, prompt: Prompt) -> None:
    """A prompt without the encoder's field must get the null form."""
    empty = encoder([prompt] * 2)
    for name, condition in empty.items():
        _check_form(f"{who}: {name!r} of empty prompts", condition, 2, encoder.produces[name])
        null = condition.dropped()
        _require(
            torch.equal(condition.mask, null.mask) and torch.equal(condition.tokens, null.tokens),
            f"{who}: {name!r} of a prompt that doesn't have its field isn't its null form",
        )


def _check_form(what: str, condition: Condition, samples: int, width: int) -> None:
    _require(
        isinstance(condition, Condition),
        f"{what}: a {type(condition).__name__}, not a Condition(tokens, mask, null)",
    )
    tokens, mask = condition.tokens, condition.mask
    _require(
        tokens.is_floating_point() and tokens.ndim >= 3,
        f"{what}: tokens are {tokens.dtype} {list(tokens.shape)}, not floats [B, L, ..., D]",
    )
    _require(len(tokens) == samples, f"{what}: tokens are for {len(tokens)} samples, not {samples}")
    _require(
        tokens.shape[-1] == width,
        f"{what}: tokens have width {tokens.shape[-1]}, but `produces` declares {width}",
    )
    _require(mask.dtype == torch.bool, f"{what}: mask is {mask.dtype}, not bool")
    _require(
        mask.shape == tokens.shape[:2],
        f"{what}: mask is {list(mask.shape)}, but tokens are {list(tokens.shape)}",
    )
    _require(mask.device == tokens.device, f"{what}: mask and tokens are on two devices")
    _require(
        bool(tokens.isfinite().all()),
        f"{what}: tokens aren't finite (those outside the mask count too: 0 x NaN is NaN)",
    )
    null = condition.null
    if null is None:
        raise PartContractError(
            f"{what}: has no null form; give it as Condition(tokens, mask, null)"
        )
    _require(
        (null.tokens.shape, null.tokens.dtype, null.mask.shape, null.mask.dtype)
        == (tokens.shape, tokens.dtype, mask.shape, mask.dtype),
        f"{what}: the null form is {null.tokens.dtype} {list(null.tokens.shape)}, tokens are"
        f" {tokens.dtype} {list(tokens.shape)}",
    )
    _require(bool(null.tokens.isfinite().all()), f"{what}: the null form isn't finite")
    _require(
        torch.equal(null.mask, null.mask[:1].expand_as(null.mask))
        and torch.equal(null.tokens, null.tokens[:1].expand_as(null.tokens)),
        f"{what}: the null form differs between samples, so it depends on their prompts",
    )


def _same(
    what: str,
    left: Mapping[str, Condition],
    right: Mapping[str, Condition],
    rows: Sequence[int],
    tolerance: float,
) -> None:
    """Check that rows `rows` of `left` are the rows of `right`, in that order, inside the masks."""
    index = torch.tensor(list(rows))
    for name in left:
        forms = (
            ("", left[name], right[name]),
            (" (null form)", left[name].dropped(), right[name].dropped()),
        )
        for label, a, b in ((label, a.rows(index), b) for label, a, b in forms):
            longest = max(a.mask.shape[1], b.mask.shape[1])
            masks, tokens = zip(*(_widened(side, longest) for side in (a, b)), strict=True)
            _require(torch.equal(masks[0], masks[1]), f"{what}: {name!r}{label} has other masks")
            worst = (tokens[0] - tokens[1]).abs().max().item() if tokens[0].numel() else 0.0
            _require(
                worst <= tolerance,
                f"{what}: {name!r}{label} differs by {worst:.3g}, more than {tolerance:.3g}",
            )


def _widened(condition: Condition, length: int) -> tuple[Tensor, Tensor]:
    """Mask and tokens padded to `length`, with 0 outside the mask."""
    mask = condition.mask.new_zeros(len(condition.mask), length)
    mask[:, : condition.mask.shape[1]] = condition.mask
    tokens = condition.tokens.detach().new_zeros(
        len(condition.mask), length, *condition.tokens.shape[2:]
    )
    tokens[mask] = condition.tokens.detach()[condition.mask]
    return mask, tokens


def _check_gradients(who: str, encoder: nn.Module, prompts: Sequence[Prompt]) -> None:
    weights = {name: weight for name, weight in encoder.named_parameters() if weight.requires_grad}
    if not weights:
        return
    encoder.zero_grad()
    generator = torch.Generator().manual_seed(1)
    loss = torch.zeros(())
    for condition in encoder(prompts).values():
        # Randomly weighted: the plain sum of a norm's output has no gradient.
        loss = (
            loss
            + (
                condition.tokens[condition.mask]
                * torch.randn(condition.tokens[condition.mask].shape, generator=generator)
            ).sum()
        )
    loss.backward()
    idle = [
        name
        for name, weight in weights.items()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    encoder.zero_grad()
    _require(
        not idle,
        f"{who}: no gradient reaches {', '.join(idle)}; freeze weights that aren't trained"
        " (requires_grad_(False))",
    )


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise PartContractError(message)

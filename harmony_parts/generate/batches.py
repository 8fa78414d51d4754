"""Several clips at once: requests of prompts and seeds, and which of them share a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from harmony_parts.av import Format
from harmony_parts.errors import MediaError, RequestError
from harmony_parts.generate.request import Inputs, Request

if TYPE_CHECKING:
    from harmony_parts.media.clip import Clip

SHARED = ("guidance", "solver", "shift", "steps", "strength")  # settings that a batch has in common


def requests_for(
    prompts: str | Request | Sequence[str | Request],
    seeds: int | Sequence[int] | None,
    **defaults: Any,
) -> list[Request]:
    """A request for each prompt and seed; `defaults` for the fields that one leaves out.

    Raises RequestError if a prompt is neither, or if there are other numbers of the two.
    """
    each = [prompts] if isinstance(prompts, str | Request) else list(prompts)
    if wrong := [prompt for prompt in each if not isinstance(prompt, str | Request)]:
        raise RequestError(f"prompts are strings or Requests, not {wrong[0]!r:.80}")
    requests = [
        _filled(Request(prompt=prompt) if isinstance(prompt, str) else prompt, defaults)
        for prompt in each
    ]
    if seeds is None:
        return requests
    numbers = list(seeds) if isinstance(seeds, Sequence) else [seeds]
    count = max(len(requests), len(numbers))
    if {len(requests), len(numbers)} - {1, count}:
        raise RequestError(
            f"there are {len(requests)} prompts and {len(numbers)} seeds: give as many of one as of"
            " the other, or a single one"
        )
    if len(requests) < count:
        requests *= count
    if len(numbers) < count:
        numbers *= count
    return [attrs.evolve(r, seed=seed) for r, seed in zip(requests, numbers, strict=True)]


def _filled(request: Request, defaults: dict[str, Any]) -> Request:
    missing = {name: x for name, x in defaults.items() if getattr(request, name) is None}
    return attrs.evolve(request, **missing)


def batched(
    requests: Sequence[Request], format: Format, most: int
) -> Iterator[list[tuple[Request, Inputs]]]:
    """Requests and their inputs, in order, up to `most` at once.

    Those of a batch have one length, equal settings, and the same streams given and in a draft; one
    that is made in windows is alone. Media are read when their batch is due.
    """
    group: list[tuple[Request, Inputs]] = []
    for number, request in enumerate(requests, 1):
        with naming(number):
            following = request, request.inputs(format)
        if group and (len(group) == most or not _fit(group[0], following)):
            yield group
            group = []
        group.append(following)
    if group:
        yield group


def _fit(one: tuple[Request, Inputs], other: tuple[Request, Inputs]) -> bool:
    (first, its), (second, others) = one, other
    return (
        not (first.windowed or second.windowed)
        and its.frames == others.frames
        and _streams(its.given) == _streams(others.given)
        and _streams(its.draft) == _streams(others.draft)
        and all(getattr(first, name) == getattr(second, name) for name in SHARED)
    )


def _streams(clip: Clip | None) -> tuple[bool, bool]:
    return clip is not None and clip.frames is not None, bool(clip and clip.waveform is not None)


@contextmanager
def naming(number: int) -> Iterator[None]:
    """Errors say which of several clips they are about."""
    try:
        yield
    except (RequestError, MediaError) as error:
        raise type(error)(f"clip {number}: {error}") from error

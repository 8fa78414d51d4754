"""The contract of interactions: it holds for those that ship, and faulty ones are found."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from harmony_parts.attention.reference import Reference
from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.cross_audio import CrossAudio
from harmony_parts.branches.protocol import Tokens
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.errors import PartContractError
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.interaction.protocol import Exchange
from harmony_parts.style.none import NoStyle
from harmony_parts.testing.contracts.interactions import check_interaction

COUNT = itertools.count()
INTERACTIONS = [
    GLDI(),
    GLDI(
        audio_window=0.0,
        video_window=0.0,
        rope_map="seconds",
        width=16,
        attention=Reference(),
        style=NoStyle(),
    ),
    Global(),
    Global(rope_map="constant"),
    NoInteraction(),
]
OVI = AV(
    VideoTransformer(width=12, heads=2, feed=8, precision="weights"),
    CrossAudio(width=12, heads=2, feed=8, precision="weights"),
)


@pytest.mark.parametrize("branches", [None, OVI], ids=["default", "ovi"])
@pytest.mark.parametrize("spec", INTERACTIONS, ids=repr)
def test_interactions_keep_the_contract(spec: Any, branches: Any) -> None:
    layer = check_interaction(spec, branches=branches)
    assert isinstance(layer, nn.Module)


@attrs.frozen
class Broken:
    """A part whose layers are `faulty(layer, branches)` of those of `inner`."""

    inner: Any
    faulty: Callable[[Any, Any], Any]

    def build(self, *, branches: Any) -> Any:
        """A faulty layer."""
        return self.faulty(self.inner.build(branches=branches), branches)


class Faulty(nn.Module):
    """An interaction without a fault; subclasses add one."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__()
        self.inner = inner

    def tables(self, layout: Any) -> Any:
        return self.inner.tables(layout)

    def update_reference(self, video: Tokens, audio: Tokens) -> Any:
        return self.inner.update_reference(video, audio)

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        return self.changed(self.inner(video, audio, tables, to), video, audio)

    def changed(self, exchange: Any, video: Tokens, audio: Tokens) -> Any:
        return exchange


def changes(change: Callable[[AV[Exchange], Tokens, Tokens], Any]) -> type[Faulty]:
    """A fault that changes the exchange."""
    return type(
        "Changes",
        (Faulty,),
        {"changed": lambda self, exchange, video, audio: change(exchange, video, audio)},
    )


def residual(change: Callable[[Tensor], Any]) -> type[Faulty]:
    """A fault that changes the video's residual, or its term if there is no residual."""

    def changed(exchange: AV[Exchange], video: Tokens, audio: Tokens) -> AV[Exchange]:
        if exchange.video is None or exchange.video.hidden is exchange.video.term is None:
            return exchange
        if exchange.video.hidden is not None:
            return exchange.replace(
                video=replace(exchange.video, hidden=change(exchange.video.hidden))
            )
        term = exchange.video.term
        return exchange.replace(video=replace(exchange.video, term=lambda q: change(term(q))))

    return changes(changed)


class NoModule:
    """It isn't a torch module."""

    def __init__(self, inner: Any, branches: Any) -> None:
        self.tables, self.forward = inner.tables, inner.forward


class OwnsBranch(Faulty):
    """A branch is its submodule."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__(inner, branches)
        self.video = branches["video"]


class Idle(Faulty):
    """A weight is never used."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__(inner, branches)
        self.idle = nn.Linear(2, 2)


class Unregistered(Faulty):
    """A tensor is neither a parameter nor a buffer."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__(inner, branches)
        self.scale = torch.full((), 2.0)

    def changed(self, exchange: Any, video: Tokens, audio: Tokens) -> Any:
        return exchange.map(
            lambda each: replace(
                each, hidden=None if each.hidden is None else self.scale * each.hidden
            )
        )


class IgnoresTo(Faulty):
    """Both streams always receive."""

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        return self.inner(video, audio, tables)


class ScalesOne(Faulty):
    """A residual is larger if only one stream receives."""

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        exchange = self.inner(video, audio, tables, to)
        return exchange.map(
            lambda each: replace(
                each, hidden=None if each.hidden is None else each.hidden * (3 - len(to))
            )
        )


class PrivateTables(Faulty):
    """Tables work only with the layer that made them."""

    def tables(self, layout: Any) -> Any:
        return self.inner.tables(layout), self

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        exchange = self.inner(video, audio, tables[0], to)
        return exchange.map(
            lambda each: replace(
                each,
                hidden=None if each.hidden is None else each.hidden * (1 + (tables[1] is self)),
            )
        )


class ConsumedTables(Faulty):
    """Each use changes the tables."""

    def tables(self, layout: Any) -> Any:
        return self.inner.tables(layout), [1.0]

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        exchange, scale = self.inner(video, audio, tables[0], to), tables[1][0]
        tables[1][0] /= 2
        return exchange.map(
            lambda each: replace(each, hidden=None if each.hidden is None else each.hidden * scale)
        )


def _in_place(exchange: AV[Exchange], video: Tokens, audio: Tokens) -> AV[Exchange]:
    video.hidden.add_(1)
    return exchange


def _uses_padding(exchange: AV[Exchange], video: Tokens, audio: Tokens) -> AV[Exchange]:
    if exchange.video.hidden is None or audio.reference is None:
        return exchange
    mean = audio.reference.mean((1, 2))[:, None, None, None]
    return exchange.replace(video=replace(exchange.video, hidden=exchange.video.hidden + mean))


def updates(change: Callable[[Any, Tokens, Tokens], Any]) -> type[Faulty]:
    """A fault that changes the residual of the reference."""

    def update(self: Faulty, video: Tokens, audio: Tokens) -> Any:
        return change(self.inner.update_reference(video, audio), video, audio)

    return type("Updates", (Faulty,), {"update_reference": update})


class NoUpdate(Faulty):
    """It lacks a method of the protocol."""

    update_reference: Any = None


@pytest.mark.parametrize(
    ("faulty", "must"),
    [
        (NoModule, "build a torch module"),
        (
            OwnsBranch,
            (
                r"build layers that share no weights with others or with branches; video\..* are"
                r" shared"
            ),
        ),
        (lambda layer, branches: nn.Linear(2, 2), "build an Interaction"),
        (
            changes(lambda exchange, video, audio: (exchange.video, exchange.audio)),
            "return an AV of Exchange",
        ),
        (
            changes(lambda exchange, video, audio: exchange.map(lambda each: each.hidden)),
            "return an AV of Exchange",
        ),
        (IgnoresTo, "return nothing for the audio stream if it isn't in `to`"),
        (
            residual(lambda x: x[:, :1]),
            r"return finite floats of the shape of the video's hidden states, \[3, 3, 8, 24\]",
        ),
        (residual(lambda x: x / 0), "return finite floats .* with NaN or infinity"),
        (residual(lambda x: x.long()), "return finite floats"),
        (NoUpdate, "build an Interaction, with all methods of the protocol"),
        (
            updates(
                lambda residual, video, audio: (
                    audio.hidden[:, :, 0] if audio.reference is None else residual
                )
            ),
            "update no reference if the audio has none",
        ),
        (
            updates(lambda residual, video, audio: residual[:, :1]),
            r"the shape of the audio's reference, \[3, 4, 32\]",
        ),
        (
            updates(
                lambda residual, video, audio: (
                    residual if residual is None else residual + audio.reference.mean(1, True)
                )
            ),
            "ignore padding",
        ),
        (PrivateTables, "make tables that depend only on the layout"),
        (ConsumedTables, "make tables that depend only on the layout"),
        (ScalesOne, "return the same for the video stream whether or not the other one is in `to`"),
        (residual(lambda x: x + x.mean(0)), "keep the samples of a batch independent"),
        (changes(_uses_padding), "ignore padding"),
        (residual(lambda x: x + torch.rand(())), "from torch's global one"),
        (residual(lambda x: x + next(COUNT)), "return the same for the same inputs"),
        (changes(_in_place), "changed in place"),
        (Idle, "let a gradient reach every weight, .* none reaches idle.weight, idle.bias"),
        (residual(torch.detach), "let a gradient reach every weight"),
        (Unregistered, "compute only with parameters and buffers"),
        (
            residual(lambda x: x.float() if x.dtype == torch.bfloat16 else x),
            "bfloat16 hidden states; video: the .* is wider",
        ),
        (
            residual(lambda x: x @ torch.eye(x.shape[-1], device=x.device)),
            "work with float64 weights and float64 hidden states: ",
        ),
        (
            residual(lambda x: x.to(torch.float8_e4m3fn).to(x.dtype)),
            "results near those in float64",
        ),
        (residual(lambda x: x * float(x.abs().max() > -1)), "run on the meta device"),
    ],
)
def test_a_broken_interaction_is_found(faulty: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_interaction(Broken(GLDI(), faulty))


def test_layers_that_share_weights_are_found() -> None:
    made: list[nn.Module] = []

    def first(layer: nn.Module, branches: Any) -> nn.Module:
        made.append(layer)
        return made[0]

    with pytest.raises(PartContractError, match="build layers that share no weights"):
        check_interaction(Broken(GLDI(), first))


@pytest.mark.parametrize(
    ("change", "must"),
    [
        (lambda x: x[..., 0], "the shape of the video's queries, "),
        (lambda x: x.float(), "the term is wider than what it is added to"),
    ],
)
def test_a_broken_term_is_found(change: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_interaction(Broken(Global(), residual(change)))

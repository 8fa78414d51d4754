"""The contracts of interactions and style parts: what ships keeps them, and each of their points
can be broken.
"""

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
from harmony_parts.style.alignment import StyleAlignment
from harmony_parts.style.none import NoStyle
from harmony_parts.testing.contracts.interactions import check_interaction, check_style

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
def test_interactions_keep_it(spec: Any, branches: Any) -> None:
    layer = check_interaction(spec, branches=branches)
    assert isinstance(layer, nn.Module)


@pytest.mark.parametrize("spec", [StyleAlignment(), NoStyle()], ids=repr)
def test_style_parts_keep_it(spec: Any) -> None:
    assert isinstance(check_style(spec), nn.Module)


@attrs.frozen
class Broken:
    """A part whose layers are given a fault: `faulty(layer, branches)` is what is built in their
    place.
    """

    inner: Any
    faulty: Callable[[Any, Any], Any]

    def build(self, *, branches: Any) -> Any:
        """See `faulty`."""
        return self.faulty(self.inner.build(branches=branches), branches)


class Faulty(nn.Module):
    """An interaction as it is: what its heirs change is their fault."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__()
        self.inner = inner

    def tables(self, layout: Any) -> Any:
        return self.inner.tables(layout)

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        return self.changed(self.inner(video, audio, tables, to), video, audio)

    def changed(self, exchange: Any, video: Tokens, audio: Tokens) -> Any:
        return exchange


def changes(change: Callable[[AV[Exchange], Tokens, Tokens], Any]) -> type[Faulty]:
    """The fault of changing what is exchanged."""
    return type(
        "Changes",
        (Faulty,),
        {"changed": lambda self, exchange, video, audio: change(exchange, video, audio)},
    )


def residual(change: Callable[[Tensor], Any]) -> type[Faulty]:
    """The fault of changing the video's residual, or its term where it has none."""

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


class Plain:
    """No torch module."""

    def __init__(self, inner: Any, branches: Any) -> None:
        self.tables, self.forward = inner.tables, inner.forward


class Keeps(Faulty):
    """Its neighbours are part of it."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__(inner, branches)
        self.video = branches["video"]


class Idle(Faulty):
    """A weight that nothing is made of."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__(inner, branches)
        self.idle = nn.Linear(2, 2)


class Hidden(Faulty):
    """A number that no state_dict has."""

    def __init__(self, inner: nn.Module, branches: Any) -> None:
        super().__init__(inner, branches)
        self.scale = torch.full((), 2.0)

    def changed(self, exchange: Any, video: Tokens, audio: Tokens) -> Any:
        return exchange.map(
            lambda each: replace(
                each, hidden=None if each.hidden is None else self.scale * each.hidden
            )
        )


class Both(Faulty):
    """Whoever asks."""

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        return self.inner(video, audio, tables)


class Louder(Faulty):
    """More, where it is for one alone."""

    def forward(
        self, video: Tokens, audio: Tokens, tables: Any, to: Collection[str] = STREAMS
    ) -> Any:
        exchange = self.inner(video, audio, tables, to)
        return exchange.map(
            lambda each: replace(
                each, hidden=None if each.hidden is None else each.hidden * (3 - len(to))
            )
        )


class Own(Faulty):
    """Tables that no other layer can read."""

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


class Used(Faulty):
    """Tables that wear out."""

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


def _hears_padding(exchange: AV[Exchange], video: Tokens, audio: Tokens) -> AV[Exchange]:
    if exchange.video.hidden is None or audio.reference is None:
        return exchange
    heard = audio.reference.mean((1, 2))[:, None, None, None]
    return exchange.replace(video=replace(exchange.video, hidden=exchange.video.hidden + heard))


def _refers_to_nothing(exchange: AV[Exchange], video: Tokens, audio: Tokens) -> AV[Exchange]:
    return (
        exchange
        if exchange.video is None
        else exchange.replace(video=replace(exchange.video, reference=video.hidden[:, :, 0]))
    )


@pytest.mark.parametrize(
    ("faulty", "must"),
    [
        (Plain, "build a torch module"),
        (
            Keeps,
            (
                r"have weights of its own in every layer that it builds; video\..* belong"
                r" elsewhere too"
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
        (Both, "give the audio stream nothing where it doesn't receive"),
        (
            residual(lambda x: x[:, :1]),
            r"give finite floats of the shape of the video's hidden states, \[3, 3, 8, 24\]",
        ),
        (residual(lambda x: x / 0), "give finite floats .* with NaN or infinity"),
        (residual(lambda x: x.long()), "give finite floats"),
        (
            changes(_refers_to_nothing),
            "give the video no residual of a reference where it has none",
        ),
        (Own, "make tables of the layout alone"),
        (Used, "make tables of the layout alone"),
        (Louder, "give the video stream the same whether it receives alone or both do"),
        (residual(lambda x: x + x.mean(0)), "what follows from that sample alone"),
        (changes(_hears_padding), "not hear padding"),
        (residual(lambda x: x + torch.rand(())), "from torch's global one"),
        (residual(lambda x: x + next(COUNT)), "give the same for the same"),
        (changes(_in_place), "changed in place"),
        (Idle, "let a gradient reach every weight, .* none reaches idle.weight, idle.bias"),
        (residual(torch.detach), "let a gradient reach every weight"),
        (Hidden, "hold what it computes with as parameters and buffers"),
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
            "nearly the same as in float64",
        ),
        (residual(lambda x: x * float(x.abs().max() > -1)), "run on the meta device"),
    ],
)
def test_a_broken_interaction_is_found(faulty: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_interaction(Broken(GLDI(), faulty))


def test_layers_that_share_their_weights_are_found() -> None:
    made: list[nn.Module] = []

    def first(layer: nn.Module, branches: Any) -> nn.Module:
        made.append(layer)
        return made[0]

    with pytest.raises(PartContractError, match="have weights of its own in every layer"):
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


class Style(nn.Module):
    """A style part whose residual, reference and video are changed."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor, Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, reference: Tensor, video: Tensor) -> Any:
        return self.change(self.inner(reference, video), reference, video)


@pytest.mark.parametrize(
    ("change", "must"),
    [
        (lambda moved, reference, video: (moved,), "return a residual of the reference"),
        (lambda moved, reference, video: moved[:, :1], "the shape of the reference"),
        (
            lambda moved, reference, video: moved + moved.mean(0),
            "what follows from that sample alone",
        ),
        (
            lambda moved, reference, video: moved + moved.mean(1, keepdim=True),
            "each token of the reference its own",
        ),
        (
            lambda moved, reference, video: moved + video[:, :1].mean((2, 3)).unsqueeze(-1),
            "not care in which order",
        ),
        (lambda moved, reference, video: moved + torch.rand(()), "from torch's global one"),
        (lambda moved, reference, video: moved + reference.mul_(2), "changed in place"),
        (lambda moved, reference, video: moved.detach(), "let a gradient reach every weight"),
        (lambda moved, reference, video: moved.double(), "is wider than what it is added to"),
        (
            lambda moved, reference, video: moved * float(video.sum() < 1e9),
            "run on the meta device",
        ),
    ],
)
def test_a_broken_style_part_is_found(change: Any, must: str) -> None:
    with pytest.raises(PartContractError, match=must):
        check_style(Broken(StyleAlignment(), lambda layer, branches: Style(layer, change)))

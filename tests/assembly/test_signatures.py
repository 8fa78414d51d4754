"""A class is compared with the protocol of its kind before any of its code runs."""

from __future__ import annotations

import pytest

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.errors import PartContractError

SPECS = """
import attrs
@attrs.frozen
class NoCombine:
    def passes(self, times, state): ...
@attrs.frozen
class FewArguments(NoCombine):
    def combine(self, preds, times): ...
@attrs.frozen
class MoreArguments(NoCombine):
    def combine(self, preds, times, state, extra): ...
@attrs.frozen
class Use(NoCombine):
    use: str = ""
    def combine(self, preds, times, state): ...
@attrs.frozen
class Optional(NoCombine):
    def combine(self, *arguments, **more): ...
def function(): ...
@attrs.frozen
class NoStream:
    from_estimate = False
    def latents(self, scene): ...
@attrs.frozen
class NoSeq:
    def shards_of(self, ranks, local): ...
    def build(self, *, device): ...
@attrs.frozen
class WrongNeighbours:
    def build(self, *, codecs): ...
@attrs.frozen
class RightNeighbours:
    def build(self, **neighbours): ...
"""


def load(install, kind, target):
    install(
        "spec",
        SPECS + f"@hookimpl\ndef harmony_{kind}():\n    yield part('it', 'plug_spec:{target}',"
        " summary='S.')\n",
    )
    return Catalogue.discover().load(kind, "it")


@pytest.mark.parametrize(
    ("kind", "target", "cause"),
    [
        ("guidance", "NoCombine", "it has no combine(preds, times, state)"),
        ("guidance", "FewArguments", "combine(preds, times) can't be called"),
        ("guidance", "MoreArguments", "combine(preds, times, state, extra) can't be called"),
        ("guidance", "Use", "a setting can't be called 'use'"),
        ("guidance", "function", "it is a function, not a class"),
        ("anchor", "NoStream", "it has no 'stream'"),
        ("strategy", "NoSeq", "it has no 'seq'"),
        ("encoder", "WrongNeighbours", "the protocol is build(*, format, codecs)"),
    ],
)
def test_a_class_that_lacks_members_of_its_protocol_is_refused(install, kind, target, cause):
    """By names and signatures, before any of its code runs."""
    with pytest.raises(PartContractError) as caught:
        load(install, kind, target)
    assert cause in str(caught.value)
    assert "harmony-spec 1.2" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "target"), [("guidance", "Optional"), ("encoder", "RightNeighbours")]
)
def test_a_class_may_accept_more_than_its_protocol(install, kind, target):
    """Signatures with further optional arguments."""
    assert load(install, kind, target).__name__ == target


def test_a_class_that_is_not_an_attrs_class_is_refused(install):
    """Its settings couldn't be read from a recipe."""
    install(
        "plain",
        "class Plain: ...\n@hookimpl\ndef harmony_guidance():\n    yield part('it',"
        " 'plug_plain:Plain', summary='S.')\n",
    )
    with pytest.raises(PartContractError, match=r"decorate it with @attrs\.frozen"):
        Catalogue.discover().load("guidance", "it")

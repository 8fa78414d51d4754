"""Checkpoints as people have them: prefixed, wrapped, nested, averaged, with buffers, or a LoRA."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import toy_weights as toys
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from harmony_parts.convert.foreign_weights import ForeignWeights
from harmony_parts.convert.forward import convert
from harmony_parts.convert.state_dicts import PREFIXES, WRAPPERS, plain_names
from harmony_parts.errors import RunError

SMALL = {"blocks.0.a.weight": torch.ones(2), "head.bias": torch.zeros(3)}


def same(weights: ForeignWeights, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether names, order and values are those of `tensors`."""
    return sorted(weights.shapes) == sorted(tensors) and all(
        torch.equal(weights[name], tensor) for name, tensor in tensors.items()
    )


@given(
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3),
    wrapper=st.sampled_from(["", *WRAPPERS]),
    within=st.booleans(),
)
def test_shared_prefixes_and_wrappers_are_left_out(
    prefixes: list[str], wrapper: str, within: bool
) -> None:
    def packed(name: str) -> str:
        inner = name.replace("0.", f"0.{wrapper}") if within else wrapper + name
        return "".join(prefixes) + inner

    plain, removed = plain_names([packed(name) for name in SMALL])
    assert plain == {name: packed(name) for name in SMALL}
    assert bool(removed) == bool(prefixes or wrapper)
    mixed = [packed("a.x"), "head.bias"]  # a prefix that only some have is a name
    if prefixes and not wrapper:
        assert plain_names(mixed) == ({name: name for name in mixed}, "")


def test_names_that_would_become_one_stay() -> None:
    names = ["a.weight", "_orig_mod.a.weight"]
    assert plain_names(names) == ({name: name for name in names}, "")


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "module._orig_mod.", "transformer."])
def test_a_prefixed_checkpoint_converts_to_the_same_model(
    files: toys.Files, tmp_path: Path, prefix: str
) -> None:
    save_file({prefix + n: t for n, t in files.wan_tensors.items()}, tmp_path / "a.safetensors")
    save_file(files.wan_tensors, tmp_path / "b.safetensors")
    reports = {
        name: convert(
            "wan",
            tmp_path / f"{name}.safetensors",
            tmp_path / name,
            configs=[files.wan_config],
            recipe=toys.WAN_RECIPE,
        )
        for name in "ab"
    }
    assert toys.same(toys.saved(tmp_path / "a"), toys.saved(tmp_path / "b"))
    assert not reports["b"].notes
    (note,) = reports["a"].notes
    assert "left out of all names" in note
    assert note[1:] in (tmp_path / "a" / "README.md").read_text()
    assert "left out of all names" in reports["a"].json()


@pytest.mark.parametrize(
    ("content", "key", "note"),
    [
        ({"state_dict": SMALL}, None, ""),
        ({"ema": SMALL, "step": 3}, None, "under 'ema' were taken"),
        ({"generator_ema": SMALL}, None, "under 'generator_ema' were taken"),
        ({"mine": {"net": SMALL}}, None, r"under 'mine\.net' were taken"),
        ({"mine": SMALL, "optimizer": {"s": {"m": torch.ones(1)}}}, None, "under 'mine'"),
        (
            {"model": SMALL, "ema": {"blocks.0.a.weight": torch.zeros(2)}},
            None,
            "under 'model' were taken; their average is there too: --key ema takes that",
        ),
        ({"model": {"x.y": torch.ones(1)}, "ema": SMALL}, "ema", "under 'ema' were taken"),
    ],
)
def test_nested_weights_are_found_and_the_choice_is_said(
    tmp_path: Path, content: Any, key: str | None, note: str
) -> None:
    torch.save(content, tmp_path / "a.pt")
    weights = ForeignWeights(tmp_path / "a.pt", key)
    assert same(weights, SMALL)
    assert len(weights.notes) == bool(note)
    if note:
        assert re.search(note, weights.notes[0])


def test_a_flat_file_with_a_model_and_its_average(tmp_path: Path) -> None:
    other = {name: tensor + 1 for name, tensor in SMALL.items()}
    flat = {f"model.{n}": t for n, t in SMALL.items()} | {f"ema.{n}": t for n, t in other.items()}
    save_file(flat, tmp_path / "a.safetensors")
    weights = ForeignWeights(tmp_path / "a.safetensors")
    assert same(weights, SMALL)
    assert "--key ema takes that" in weights.notes[0]
    assert same(ForeignWeights(tmp_path / "a.safetensors", "ema"), other)
    with pytest.raises(RunError, match="no name begins with 'ena'; names begin with ema, model"):
        ForeignWeights(tmp_path / "a.safetensors", "ena")


def test_unknown_keys_are_listed(tmp_path: Path) -> None:
    torch.save({"first": SMALL, "second": {"a.b": torch.ones(1)}}, tmp_path / "a.pt")
    with pytest.raises(RunError, match=r"first \(2\), second \(1\); take one with --key"):
        ForeignWeights(tmp_path / "a.pt")
    with pytest.raises(RunError, match=r"no tensors under 'frist' \(did you mean 'first'\?\)"):
        ForeignWeights(tmp_path / "a.pt", "frist")
    torch.save({"step": 3, "epoch": 1}, tmp_path / "a.pt")
    with pytest.raises(RunError, match="its keys are step, epoch"):
        ForeignWeights(tmp_path / "a.pt")
    torch.save([torch.ones(1)], tmp_path / "a.pt")
    with pytest.raises(RunError, match="the file holds a list, not a mapping"):
        ForeignWeights(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", ["lora_A.weight", "lora_up.weight", "lokr_w1", "hada_w1_a"])
def test_a_lora_is_called_that(tmp_path: Path, suffix: str) -> None:
    save_file({f"blocks.0.q.{suffix}": torch.zeros(4, 4)}, tmp_path / "a.safetensors")
    with pytest.raises(RunError, match=r"a\.safetensors: is a LoRA .*merge it"):
        ForeignWeights(tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool])
def test_buffers_are_no_quantised_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {**SMALL, "freqs": torch.zeros(4, dtype=dtype)}
    torch.save(tensors, tmp_path / "a.pt")
    save_file(tensors, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        weights = ForeignWeights(tmp_path / name)
        assert same(weights, SMALL)
        assert "1 buffers that aren't weights were left out, such as freqs" in weights.notes[0]


class Settings:
    """A class of a training script."""


def test_no_message_of_torch_reaches_the_user(tmp_path: Path) -> None:
    torch.save({"model": SMALL, "settings": Settings()}, tmp_path / "object.pt")
    torch.save(SMALL, tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "cut.pt").read_bytes()[:-100])
    save_file(SMALL, tmp_path / "other.safetensors")
    (tmp_path / "other.pt").write_bytes((tmp_path / "other.safetensors").read_bytes())
    (tmp_path / "page.pt").write_bytes(b"<html>")
    for name, cause in (
        ("object", r"more than plain tensors \(.*Settings\)"),
        ("cut", "it is damaged, or cut at [0-9,]+ bytes: fetch it again$"),
        ("other", r"a safetensors file: rename it to end in \.safetensors$"),
        ("page", "it is a web page"),
    ):
        with pytest.raises(RunError, match=cause) as caught:
            ForeignWeights(tmp_path / f"{name}.pt")
        assert "\x1b" not in str(caught.value)
        assert "weights_only" not in str(caught.value)

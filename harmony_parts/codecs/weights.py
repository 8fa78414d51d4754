"""Weights of learned codecs: files that the codecs' settings name."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harmony_parts.codecs.shipped import weights_file

HOW = "train some with `harmony train-codec RECIPE`, and set `weights` to its codec.safetensors"


def on_meta() -> bool:
    """Whether modules are made without values here: inside `torch.device("meta")`."""
    return torch.empty(0).device.type == "meta"


def load_network(network: nn.Module, weights: str) -> None:
    """Load a safetensors file into a network, which may be on the meta device, as float32.

    Raises ValueError, with the remedy, if there is no such file or it is of another network.
    """
    if not weights:
        raise ValueError(f"this codec has no weights without a file: {HOW}")
    file = weights_file(weights)
    if not file.is_file():
        raise ValueError(f"there is no file {weights!r} (in {Path.cwd()}): {HOW}")
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights {weights!r} can't be read: {error}") from error
    expected = network.state_dict()
    wrong = sorted(
        name
        for name in {*expected, *state}
        if name not in expected or name not in state or expected[name].shape != state[name].shape
    )
    if wrong:
        raise ValueError(
            f"weights {weights!r} are those of another codec: {len(wrong)} of its tensors are"
            f" missing, unknown or of another shape, such as {wrong[0]}; set the codec's sizes to"
            " those that it was trained with"
        )
    network.load_state_dict({name: x.float() for name, x in state.items()}, assign=True)

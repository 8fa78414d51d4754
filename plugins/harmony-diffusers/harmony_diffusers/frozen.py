"""Models of other people: where their weights come from, and how they are kept beside a Harmony
model without becoming part of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import torch
from attrs.validators import in_
from torch import Tensor, nn

from harmony_parts.models.offload import move_weights
from harmony_parts.plugin import knob

Precision = Literal["float32", "bfloat16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


# --- knobs that all parts have --------------------------------------------------------------------


def model_knob(default: str) -> Any:
    """Where the weights are."""
    return knob(
        default,
        help="a folder with the weights, or the name of a repository on the Hugging Face Hub",
    )


def subfolder_knob(default: str, what: str) -> Any:
    """Where in `model`."""
    return knob(default, help=f"the folder of the {what} inside `model`", off="")


def revision_knob() -> Any:
    """Which version of a repository."""
    return knob(
        "",
        help="branch, tag or commit of the repository on the Hub; empty for its main branch",
        off="",
    )


def config_knob(cls: str) -> Any:
    """Random weights of a form of one's own."""
    return knob(
        {},
        help=(
            f"arguments of {cls}: with them it is built with random weights, always the same, and"
            " nothing is loaded"
        ),
        off={},
        converter=dict,
    )


def precision_knob(default: Precision) -> Any:
    """What the model computes in."""
    return knob(
        default,
        help="what the weights are held in, and the model computes in",
        validator=in_(tuple(DTYPES)),
    )


# --- loading --------------------------------------------------------------------------------------


def on_meta() -> bool:
    """Whether tensors that are made here are made without memory: `with torch.device("meta")`."""
    return torch.empty(0).device.type == "meta"


def diffusers_model(
    cls: Any,
    full: Mapping[str, Any],
    config: Mapping[str, Any],
    precision: str,
    model: str,
    subfolder: str,
    revision: str,
) -> Any:
    """`cls` of diffusers: with `config`, of that form with random weights; else on the meta device
    of the form `full`; else as `model` has it.

    Raises ValueError, saying which knob to change, where there are none, or they are of another
    class.
    """
    from diffusers.utils import is_accelerate_available

    if config or on_meta():
        return _made(lambda: cls(**(config or full)), precision)
    where = _where(model, subfolder, revision)
    with _explained(cls.__name__, model, subfolder):
        there = cls.load_config(_found(model), **where).get("_class_name")
        if there != cls.__name__:
            raise ValueError(f"it holds a {there}")
        lean = {"low_cpu_mem_usage": is_accelerate_available()}  # else diffusers warns
        made, info = cls.from_pretrained(
            _found(model), torch_dtype=DTYPES[precision], output_loading_info=True, **lean, **where
        )
        _complete(info)
    return nn.Module.to(made, DTYPES[precision])  # without accelerate, diffusers loads into float32


def transformers_model(
    cls: Any,
    full: Mapping[str, Any],
    config: Mapping[str, Any],
    precision: str,
    model: str,
    subfolder: str,
    revision: str,
) -> Any:
    """The same of a class of transformers, whose arguments are those of its configuration."""
    if config or on_meta():
        return _made(lambda: cls(cls.config_class(**(config or full))), precision)
    where = _where(model, subfolder, revision)
    with _explained(cls.__name__, model, subfolder):
        there, wanted = (
            cls.config_class.get_config_dict(_found(model), **where)[0].get("model_type"),
            cls.config_class.model_type,
        )
        if there is None:
            raise ValueError("it has no config.json that names a type of model")
        if there != wanted:
            raise ValueError(f"it holds a model of the type {there!r}, not {wanted!r}")
        made, info = cls.from_pretrained(
            _found(model), dtype=DTYPES[precision], output_loading_info=True, **where
        )
        _complete(info)
    return made


def transformers_tokenizer(cls: Any, model: str, subfolder: str, revision: str) -> Any:
    """The tokenizer of `model`. Raises ValueError as above."""
    with _explained("a tokenizer", model, subfolder, knob="tokenizer"):
        return cls.from_pretrained(_found(model), **_where(model, subfolder, revision))


def _made(make: Callable[[], nn.Module], precision: str) -> nn.Module:
    """Without files. Such weights aren't saved with a model that uses them, so they are the same
    whenever and wherever it is loaded.
    """
    if on_meta():
        return nn.Module.to(make(), DTYPES[precision])
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(0)
        # diffusers' own `to` warns of every change of precision
        return nn.Module.to(make(), DTYPES[precision])


def _where(model: str, subfolder: str, revision: str) -> dict[str, str]:
    return {
        name: value for name, value in (("subfolder", subfolder), ("revision", revision)) if value
    }


def _found(model: str) -> str:
    """The name for from_pretrained, which takes a folder that isn't there for the name of a
    repository.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        return str(folder)
    if not model or model.startswith((".", "~", "/")) or model.count("/") != 1 or "\\" in model:
        raise ValueError(f"there is no folder {model!r}")
    return model


def _complete(info: Mapping[str, Any]) -> None:
    """Libraries fill what a file lacks with random numbers, and only warn."""
    lacking = sorted(info["missing_keys"])
    if lacking or info.get("mismatched_keys"):
        wrong = lacking or sorted(
            str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]
        )
        raise ValueError(
            f"{len(wrong)} of its weights are missing there or of another shape, such as {wrong[0]}"
        )


@contextmanager
def _explained(what: str, model: str, subfolder: str, knob: str = "model") -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        cause = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        place = f"{knob} {model!r}" + (f" (folder {subfolder!r} in it)" if subfolder else "")
        raise ValueError(
            f"{place} can't be loaded as {what}: {cause[:300]}; set `{knob}` to a folder that holds"
            " it, or to a repository on the Hub that this machine can reach (a gated one: accept"
            " its terms on its page, then `hf auth login`)"
        ) from error


# --- keeping --------------------------------------------------------------------------------------


class Frozen:
    """Models that aren't trained, and aren't saved with what uses them: their weights stay where
    they came from.

    It is no torch module, so a module may hold it without listing its weights in `parameters()` or
    `state_dict()`.
    """

    def __init__(self, *models: nn.Module) -> None:
        self.models: tuple[Any, ...] = tuple(model.eval().requires_grad_(False) for model in models)

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights, for those who count them."""
        return itertools.chain.from_iterable(model.parameters() for model in self.models)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What they are held in."""
        return next(self.parameters()).dtype


class FrozenModule(nn.Module):
    """A torch module whose weights are frozen ones: no part of its `parameters()` and
    `state_dict()`, they keep their precision, but move with it.
    """

    frozen: Frozen

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that hold the weights."""
        return self.frozen.models

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for model in self.frozen.models:
            move_weights(model, fn(torch.empty(0, device=self.frozen.device)).device)
        return self

"""Pre-trained models of other publishers: loading them, and using them without owning weights."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import torch
from attrs.validators import in_
from torch import Tensor, nn

from harmony_diffusers.model_index import model_index
from harmony_parts.models.offload import move_weights
from harmony_parts.plugin import knob

Precision = Literal["float32", "bfloat16"]
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


# --- knobs of all parts ---------------------------------------------------------------------------


def model_knob(default: str) -> Any:
    """The knob of the model to load."""
    return knob(
        default,
        help="a folder with the weights, or the name of a repository on the Hugging Face Hub",
    )


def subfolder_knob(default: str, what: str) -> Any:
    """The knob of a folder inside the model."""
    return knob(
        default,
        help=(
            f"the folder of the {what} inside `model`, or another one of that class if its"
            " model_index.json has no such folder"
        ),
        off="",
    )


def revision_knob() -> Any:
    """The knob of a repository's version."""
    return knob(
        "",
        help="branch, tag or commit of the repository on the Hub; empty for its main branch",
        off="",
    )


def config_knob(cls: str) -> Any:
    """The knob of a configuration that is built with random weights."""
    return knob(
        {},
        help=(
            f"arguments of {cls}, to build it with random weights (always the same) instead of"
            " loading it"
        ),
        off={},
        converter=dict,
    )


def precision_knob(default: Precision) -> Any:
    """The knob of the weights' type."""
    return knob(
        default,
        help="type of the weights and of the computation",
        validator=in_(tuple(DTYPES)),
    )


# --- loading --------------------------------------------------------------------------------------


def on_meta() -> bool:
    """Whether the current device is the meta device: `with torch.device("meta")`."""
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
    """A diffusers model `cls`: random with `config`, empty of form `full` on meta, else loaded.

    Raises ValueError, naming the knob to change, if the weights can't be loaded or are of another
    class.
    """
    from diffusers.utils import is_accelerate_available

    if config or on_meta():
        return _cast(_made(lambda: cls(**(config or full))), precision)
    with explained(cls.__name__, model, subfolder):
        where = component(cls.__name__, model, subfolder, revision)
        found_cls = cls.load_config(found(model), **where).get("_class_name")
        if found_cls != cls.__name__:
            raise ValueError(f"it is a {found_cls}")
        lean = is_accelerate_available()  # without it, diffusers warns, and loads into float32
        made, info = (cls if lean else _of_one_type(cls)).from_pretrained(
            found(model),
            torch_dtype=DTYPES[precision],
            output_loading_info=True,
            low_cpu_mem_usage=lean,
            **where,
        )
        _complete(info)
    made.__class__ = cls
    return _cast(made, precision)


def saved_form(cls: Any, model: str, subfolder: str) -> dict[str, Any]:
    """On the meta device, the configuration in the folder `model`; elsewhere, and without: {}."""
    folder = Path(model).expanduser() / subfolder
    config = cls.load_config(folder) if on_meta() and (folder / "config.json").is_file() else {}
    return {name: value for name, value in config.items() if not name.startswith("_")}


def saved_class(
    classes: Sequence[Any], config: Mapping[str, Any], model: str, subfolder: str, revision: str
) -> Any:
    """The one of diffusers' `classes` that `model` has in `subfolder`, or that takes `config`.

    The first one, if that says nothing, as without weights on the meta device.
    """
    first = classes[0]
    if config:
        return next((cls for cls in classes if config.keys() <= _arguments(cls)), first)
    if on_meta() and not Path(model).expanduser().is_dir():
        return first
    with explained(" or ".join(cls.__name__ for cls in classes), model, subfolder):
        saved = first.load_config(
            found(model), **component(first.__name__, model, subfolder, revision)
        )
    return next((cls for cls in classes if cls.__name__ == saved.get("_class_name")), first)


def _arguments(cls: Any) -> set[str]:
    return set(inspect.signature(cls.__init__).parameters)


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
        made = _made(lambda: cls(cls.config_class(**(config or full))))
        return made.to(DTYPES[precision])
    with explained(cls.__name__, model, subfolder):
        where = component(cls.__name__, model, subfolder, revision)
        config_dict, _ = cls.config_class.get_config_dict(found(model), **where)
        kind, wanted = config_dict.get("model_type"), cls.config_class.model_type
        if kind is None:
            raise ValueError("it has no config.json with a model_type")
        if kind != wanted:
            raise ValueError(f"it is a model of type {kind!r}, not {wanted!r}")
        made, info = cls.from_pretrained(
            found(model), dtype=DTYPES[precision], output_loading_info=True, **where
        )
        _complete(info)
    return made


def saved_model_class(
    classes: Sequence[Any], config: Mapping[str, Any], model: str, subfolder: str, revision: str
) -> Any:
    """The one of transformers' `classes` whose `model_type` `config` names, or the saved model has.

    The first one, if nothing says which, as without weights on the meta device.
    """
    first = classes[0]
    kind = config.get("model_type")
    if not config and not (on_meta() and not Path(model).expanduser().is_dir()):
        with explained(" or ".join(cls.__name__ for cls in classes), model, subfolder):
            where = component(first.__name__, model, subfolder, revision)
            saved, _ = first.config_class.get_config_dict(found(model), **where)
        kind = saved.get("model_type")
    return next((cls for cls in classes if cls.config_class.model_type == kind), first)


def transformers_tokenizer(cls: Any, model: str, subfolder: str, revision: str) -> Any:
    """The tokenizer of `model`. Raises ValueError if it can't be loaded."""
    with explained("a tokenizer", model, subfolder, knob="tokenizer"):
        where = component(cls.__name__, model, subfolder, revision)
        return cls.from_pretrained(found(model), **where)


def _made(make: Callable[[], nn.Module]) -> nn.Module:
    """A model with random weights; they aren't saved, so their seed is always the same."""
    if on_meta():
        return make()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(0)
        return make()


def _of_one_type(cls: Any) -> Any:
    """The class without layers kept in float32, which diffusers can't load without accelerate."""
    return type(cls.__name__, (cls,), {"_keep_in_fp32_modules": None})


def _cast(model: nn.Module, precision: str) -> nn.Module:
    """Weights of that precision, but for those that diffusers keeps in float32.

    As from_pretrained does: if a part of a weight's name is in the class's list.
    """
    names = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    kept = {
        name: weight.data.float()
        for name, weight in model.named_parameters()
        if names & set(name.split("."))
    }
    # nn.Module's `to`, since diffusers' warns about every change of precision
    nn.Module.to(model, DTYPES[precision])
    for name, weight in model.named_parameters():
        weight.data = kept.get(name, weight.data)
    return model


def component(cls: str, model: str, subfolder: str, revision: str) -> dict[str, str]:
    """The arguments of from_pretrained for a component of `model`; see `ModelIndex.subfolder`."""
    index = model_index(found(model), revision) if subfolder else None
    return place(index.subfolder(subfolder, cls) if index else subfolder, revision)


def place(subfolder: str, revision: str) -> dict[str, str]:
    """The arguments of from_pretrained for a folder and a version of a repository."""
    return {
        name: value for name, value in (("subfolder", subfolder), ("revision", revision)) if value
    }


def found(model: str) -> str:
    """The first argument for from_pretrained, which takes a missing folder for a repository.

    Raises ValueError if it is neither a folder nor like a name on the Hub.
    """
    folder = Path(model).expanduser()
    if not model:
        raise ValueError("no model is named")
    if folder.is_dir():
        return str(folder)
    if model.startswith((".", "~", "/")) or model.count("/") != 1 or "\\" in model:
        raise ValueError(f"there is no folder {model!r}")
    return model


def _complete(info: Mapping[str, Any]) -> None:
    """Raise ValueError for missing weights, which the libraries would initialise randomly."""
    missing = sorted(info["missing_keys"])
    if missing or info.get("mismatched_keys"):
        wrong = missing or sorted(
            str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"]
        )
        raise ValueError(
            f"{len(wrong)} of its weights are missing or have another shape, such as {wrong[0]}"
        )


@contextmanager
def explained(what: str, model: str, subfolder: str, knob: str = "model") -> Iterator[None]:
    """Turn what loading raises into a ValueError that names the knob to change."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        cause = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        place = f"{knob} {model!r}" + (f" (its folder {subfolder!r})" if subfolder else "")
        raise ValueError(
            f"{place} can't be loaded as {what}: {cause[:300]}; set `{knob}` to a folder with"
            " it, or to a repository on the Hub that this machine can reach (for a gated one,"
            " accept its terms on its page, then run `hf auth login`)"
        ) from error


# --- using ----------------------------------------------------------------------------------------


class Frozen:
    """Frozen models, which are neither trained nor saved with the module that uses them.

    It isn't a torch module, so the weights of a module that has it as an attribute don't include
    theirs (`parameters()`, `state_dict()`).
    """

    def __init__(self, *models: nn.Module) -> None:
        self.models: tuple[Any, ...] = tuple(model.eval().requires_grad_(False) for model in models)

    def parameters(self) -> Iterator[nn.Parameter]:
        """All weights, for example to count them."""
        return itertools.chain.from_iterable(model.parameters() for model in self.models)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.parameters()).dtype


class FrozenModule(nn.Module):
    """A torch module that uses frozen models.

    Their weights aren't in its `parameters()` and `state_dict()`, and keep their precision, but
    move with it.
    """

    frozen: Frozen

    @property
    def external_modules(self) -> tuple[nn.Module, ...]:
        """The modules that own the weights."""
        return self.frozen.models

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for model in self.frozen.models:
            move_weights(model, fn(torch.empty(0, device=self.frozen.device)).device)
        return self

"""Finding the weights in a checkpoint: under which key they are, and what wraps their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.errors import RunError, nearest

MODELS = (
    "app.model",
    "module",
    "model",
    "state_dict",
    "generator",
    "params",
    "model_state_dict",
    "model.state_dict",
)
"""Keys of a model's weights, in order; Ovi's training writes the first two."""
AVERAGES = (
    "ema",
    "generator_ema",
    "params_ema",
    "model_ema",
    "ema_model",
    "ema_state_dict",
    "state_dict_ema",
    "ema.shadow_params",
)
"""Keys of their averages, which are taken if there is nothing else."""
PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "module.",
    "model.",
    "transformer.",
    "state_dict.",
    "base_model.",
)
"""Prefixes that training and packing code puts before every name."""
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch puts into the names of modules that it wraps, at any depth."""
LORA = re.compile(r"(\.|_)(lora_(A|B|up|down|magnitude)|lokr_w|hada_w|dora_scale)")
DEPTH = 3  # of nested mappings that are looked into
SHOWN = 8  # keys in an error


@attrs.frozen(eq=False)
class StateDict:
    """Tensors by name, the key that they were under, and lines for the user about the choice."""

    tensors: Mapping[str, Tensor]
    key: str = ""
    notes: tuple[str, ...] = ()


def find_state_dict(content: Any, key: str | None = None) -> StateDict:
    """The weights in a loaded checkpoint: those under `key`, else the model's, else its average.

    Raises RunError, with the keys that there are, if none or several could be meant.
    """
    found = dict(_groups(content))
    listed = ", ".join(f"{name or '(top)'} ({len(group)})" for name, group in _largest(found))
    if key is not None:
        if key not in found:
            raise RunError(
                f"has no tensors under {key!r}{nearest(key, found)}; keys with tensors (and how"
                f" many): {listed or 'none'}"
            )
        return StateDict(found[key], key, (f"the weights under {key!r} were taken",))
    models = [name for name in MODELS if name in found]
    averages = [name for name in AVERAGES if name in found]
    others = [name for name in found if not re.match(r"(optim|.*sched|lr_|rng|scaler)", name)]
    chosen = next(iter([*models, *([""] if "" in found else []), *averages]), None)
    if chosen is None and len(others) == 1:
        chosen = others[0]
    if chosen is None:
        raise RunError(
            f"has no weights under a known key; keys with tensors (and how many):"
            f" {listed or 'none'}"
            + ("; take one with --key (in Python: key=...)" if found else f"; {_inside(content)}")
        )
    notes = [] if chosen in ("", *MODELS[:4]) else [f"the weights under {chosen!r} were taken"]
    if averages and chosen not in averages:
        taken = f"under {chosen!r} " if chosen else ""
        notes = [
            f"the weights {taken}were taken; their average is there too: --key {averages[0]}"
            " takes that"
        ]
    return StateDict(found[chosen], chosen, tuple(notes))


def split_groups(names: Iterable[str]) -> dict[str, list[str]]:
    """Names by their known first key, if each name begins with one; else {}.

    So are files flattened that hold a model and its average.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        first, _, rest = name.partition(".")
        if not rest or first not in (*MODELS, *AVERAGES):
            return {}
        groups.setdefault(first, []).append(name)
    return groups


def plain_names(names: Sequence[str]) -> tuple[dict[str, str], str]:
    """(name without wrappers and shared prefix -> name in the file, what was left out)."""
    plain, removed = {name: name for name in names}, []
    for wrapper in WRAPPERS:
        if any(wrapper in name for name in plain):
            plain = {name.replace(wrapper, ""): given for name, given in plain.items()}
            removed.append(wrapper)
    while prefix := next(
        (p for p in PREFIXES if plain and all(n.startswith(p) for n in plain)), ""
    ):
        plain = {name.removeprefix(prefix): given for name, given in plain.items()}
        removed.append(prefix)
    if len(plain) != len(names):  # two names became one
        return {name: name for name in names}, ""
    return plain, ", ".join(map(repr, removed))


def lora_name(names: Iterable[str]) -> str | None:
    """The first name of a low-rank change, if there is one."""
    return next((name for name in names if LORA.search(name)), None)


def _groups(
    content: Any, path: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(dotted key, tensors) of each mapping that has named tensors."""
    if not isinstance(content, Mapping) or depth > DEPTH:
        return
    tensors = {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if tensors:
        yield path, tensors
    for name, value in content.items():
        if isinstance(name, str) and isinstance(value, Mapping):
            yield from _groups(value, f"{path}.{name}".lstrip("."), depth + 1)


def _largest(found: Mapping[str, Mapping[str, Tensor]]) -> list[tuple[str, Mapping[str, Tensor]]]:
    return sorted(found.items(), key=lambda item: -len(item[1]))[:SHOWN]


def _inside(content: Any) -> str:
    if not isinstance(content, Mapping):
        return f"the file holds a {type(content).__name__}, not a mapping"
    keys = [str(key) for key in content]
    return f"its keys are {', '.join(keys[:SHOWN]) or 'none'}"

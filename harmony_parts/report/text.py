"""Numbers, durations and settings as text for people."""

from __future__ import annotations

from typing import Any


def quantity(number: int | float, what: str) -> str:
    """ "1 latent", "2,048 latents"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def short(number: int) -> str:
    """A number with three significant digits: 618, 12.3 k, 5.01 M, 5.01 G."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= 0.9995 * size:
            return f"{number / size:.3g} {unit}"
    return str(number)


def duration(seconds: float) -> str:
    """0.4 s, 12.3 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def value(plain: Any) -> str:
    """A setting's value as TOML, on one line."""
    if isinstance(plain, bool):
        return str(plain).lower()
    if isinstance(plain, dict):
        inside = ", ".join(f"{key} = {value(inner)}" for key, inner in plain.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(plain, list | tuple):
        return f"[{', '.join(map(value, plain))}]"
    if isinstance(plain, str):
        return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '"none"' if plain is None else str(plain)


def bytes_text(n: int) -> str:
    """12.3 MiB, 40.4 GiB."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if n >= 0.1 * scale:
            return f"{n / scale:,.0f} {unit}" if n >= 100 * scale else f"{n / scale:.3g} {unit}"
    return f"{n / 2**10:.3g} KiB"


def flops_text(n: int) -> str:
    """0.62 PFLOP, 192 MFLOP."""
    for unit, scale in (("PFLOP", 10**15), ("TFLOP", 10**12), ("GFLOP", 10**9), ("MFLOP", 10**6)):
        if n >= 0.1 * scale:
            return f"{n / scale:.3g} {unit}" if n < 1000 * scale else f"{n / scale:,.0f} {unit}"
    return f"{n} FLOP"

"""Builds the parts of a recipe. Importing this module imports no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from harmony_parts.av import AV, Format
from harmony_parts.errors import AssemblyError, nearest

if TYPE_CHECKING:
    from harmony_parts.assembly.recipe import Recipe
    from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
    from harmony_parts.denoisers.protocol import Denoiser
    from harmony_parts.encoders.protocol import Encoder

P = TypeVar("P")


@attrs.frozen(eq=False)
class Parts:
    """The working parts of a model. `encoders` has the names of the recipe as keys."""

    format: Format
    codecs: AV[VideoCodec | AudioCodec]
    encoders: dict[str, Encoder]
    denoiser: Denoiser

    def each(self) -> Iterator[VideoCodec | AudioCodec | Encoder | Denoiser]:
        """All parts: codecs, encoders, denoiser."""
        yield from (self.codecs[stream] for stream in self.codecs)
        yield from self.encoders.values()
        yield self.denoiser

    def lengths(self) -> AV[int]:
        """Latents in time of each stream, of a clip of the format's length."""
        frames = self.format.frames
        length = AV(frames, self.format.samples(frames))
        return self.codecs.map(lambda codec, n: codec.latents(n), length)


def build(recipe: Recipe, seed: int = 0, *, empty: Collection[str] = ()) -> Parts:
    """Build the parts of a recipe with fresh weights: codecs, then encoders, then the denoiser.

    Each part takes its sizes from those before it. Its weights are a function of `seed`, its path
    in the recipe and these sizes, so exchanging one encoder doesn't change the weights of the
    others. The global random generator isn't changed. Parts named in `empty` ("codecs", "encoders",
    "denoiser") are made on the meta device: they have shapes but no values, for inspecting models
    of any size or for loading saved weights. Raises AssemblyError if parts don't fit together.
    """
    from harmony_parts.assembly.recipe import check_recipe

    check_recipe(recipe)
    try:
        return _assembled(recipe, seed, empty)
    except AssemblyError as error:
        raise AssemblyError(error.faults, recipe.name) from error


def _assembled(recipe: Recipe, seed: int, empty: Collection[str]) -> Parts:
    """Build the parts in order, and check conditions and hints as soon as they are known."""
    from harmony_parts.denoisers.own_network import denoiser_fault, spec_fault

    def built(path: str, make: Callable[..., P], **neighbours: Any) -> P:
        return _built(f"$.{path}", seed, make, path.partition(".")[0] in empty, **neighbours)

    specs: AV[Any] = AV(recipe.codecs.video, recipe.codecs.audio)
    codecs: AV[Any] = AV(
        **{s: built(f"codecs.{s}", specs[s].build, format=recipe.format) for s in specs}
    )
    encoders = {
        name: built(f"encoders.{name}", spec.build, format=recipe.format, codecs=codecs)
        for name, spec in recipe.encoders.items()
    }
    _check_conditions(recipe, encoders)
    if fault := spec_fault(recipe.denoiser):
        raise AssemblyError(f"$.denoiser: {fault}")
    denoiser = built("denoiser", recipe.denoiser.build, codecs=codecs, encoders=encoders)
    if fault := denoiser_fault(denoiser):
        raise AssemblyError(f"$.denoiser: {fault}")
    _check_hints(recipe, denoiser)
    return Parts(recipe.format, codecs, encoders, denoiser)


def derived_seed(seed: int, use: str) -> int:
    """A seed of 56 bits for one use of `seed`: no two uses draw the same numbers."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{use}".encode(), digest_size=7).digest())


def _built(path: str, seed: int, make: Callable[..., P], empty: bool, **neighbours: Any) -> P:
    """Build one part with its own derived seed; its errors get its path in the recipe."""
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices), torch.device("meta") if empty else nullcontext():
        torch.manual_seed(derived_seed(seed, path))
        try:
            return make(**neighbours)
        except AssemblyError as error:
            raise AssemblyError([_under(path, fault) for fault in error.faults]) from error
        except ValueError as error:
            raise AssemblyError(f"{path}: {error}") from error


def _under(path: str, fault: str) -> str:
    """A fault reported by a part, with its path from the root of the recipe."""
    if fault.startswith(path):
        return fault
    return path + fault[1:] if fault.startswith("$") else f"{path}: {fault}"


def _check_conditions(recipe: Recipe, encoders: Mapping[str, Encoder]) -> None:
    """Raises AssemblyError if two encoders produce a condition, or none one that is dropped, in
    training or by the guidance.
    """
    from harmony_parts.guidance.demands import unknown_drops

    faults: list[str] = []
    produced: dict[str, str] = {}
    for name, encoder in encoders.items():
        if not isinstance(produces := getattr(encoder, "produces", None), Mapping):
            faults.append(
                f"$.encoders.{name}: {type(encoder).__name__} needs `produces`, a mapping from each"
                " condition's name to the width of its tokens"
            )
            continue
        for condition in produces:
            if condition in produced:
                faults.append(
                    f"$.encoders.{name}: it produces the condition {condition!r}, which"
                    f" {produced[condition]} also produces; rename one"
                )
            produced[condition] = name
    for condition in recipe.train.drop:
        if condition not in produced:
            has = f"{nearest(condition, produced)}; available: {', '.join(produced) or 'none'}"
            faults.append(f"$.train.drop.{condition}: no encoder produces this condition{has}")
    faults += [
        f"$.sample.guidance: it {f}" for f in unknown_drops(recipe.sample.guidance, produced)
    ]
    if faults:
        raise AssemblyError(faults)


def _check_hints(recipe: Recipe, denoiser: Denoiser) -> None:
    """Raises AssemblyError if the guidance requests a hint that the denoiser doesn't support."""
    from harmony_parts.guidance.demands import demands
    from harmony_parts.guidance.protocol import unsupported_hints

    for requested in demands(recipe.sample.guidance).passes:
        if requested.model:  # the sampler loads that model, and checks its hints
            continue
        if misfit := unsupported_hints(requested, denoiser.hints):
            raise AssemblyError(f"$.sample.guidance: it requests {misfit}")

"""From an example to the tensors and texts of a prepared clip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import Parts, build
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.av import Condition, Format, Prompt
from harmony_parts.data.protocol import Example
from harmony_parts.errors import RunError
from harmony_parts.latents.conditions import conditions_of, is_frozen
from harmony_parts.latents.encode import encode_examples
from harmony_parts.models.offload import move_weights
from harmony_parts.sources.shard_files import FIELDS, MEDIA, condition_tensors, json_keeps

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class ClipEncoder:
    """Encodes examples, one at a time, with the codecs and the frozen encoders of a recipe.

    `formats` are the shapes of clips; each picture size has codecs of its own, while encoders with
    weights are built once. Prompts keep their image and voice only if a trainable encoder reads
    them.
    """

    def __init__(
        self, recipe: Recipe, formats: Sequence[Format], device: torch.device, dtype: str
    ) -> None:
        self.device, self.dtype = device, TYPES[dtype]
        self.parts = _parts(recipe, formats)
        for parts in self.parts:
            for part in (*(parts.codecs[s] for s in parts.codecs), *parts.encoders.values()):
                move_weights(part, device)
        self.keeps = self._media_fields()
        self.null = self._null()

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that have a codec."""
        return tuple(self.parts[0].codecs)

    @torch.no_grad()
    def tensors(
        self, example: Example, shape: int, voices: Sequence[Tensor] = ()
    ) -> dict[str, Tensor]:
        """All tensors of a clip: latents, conditions, variants of them, media of the prompt.

        Raises RunError, naming the example, if its clip isn't in the format.
        """
        parts = self.parts[shape]
        latents = encode_examples([example], parts.format, parts.codecs, self.device)
        tensors = {f"latents/{stream}": latents[stream][0] for stream in latents}
        first = self._conditions(parts, example.prompt)
        tensors |= {f"conditions/{name}": tensor for name, tensor in first.items()}
        for k, voice in enumerate(voices, 1):
            other = self._conditions(parts, attrs.evolve(example.prompt, voice=voice))
            changed = {n for n in other if n not in first or not torch.equal(other[n], first[n])}
            names = {name.partition("/")[0] for name in changed}
            kept = {n: t for n, t in other.items() if n.partition("/")[0] in names}
            tensors |= {f"variant-{k}/{name}": tensor for name, tensor in kept.items()}
            if "voice" in self.keeps:
                tensors[f"prompt/voice-{k}"] = voice
        for field in self.keeps:
            if (medium := getattr(example.prompt, field)) is not None:
                tensors[f"prompt/{field}"] = medium
        return {name: self._stored(name, tensor) for name, tensor in tensors.items()}

    def texts(self, example: Example, variants: int) -> dict[str, Any]:
        """What JSON holds of a clip. Raises RunError if `extra` of its prompt can't be stored."""
        prompt = example.prompt
        extra = dict(prompt.extra)
        if not json_keeps(extra):
            raise RunError(
                f"{example.name}: `extra` of its prompt has values that JSON doesn't keep; a data"
                " set can be prepared only if it gives text, numbers, lists and mappings there"
            )
        texts = {field: getattr(prompt, field) for field in FIELDS}
        return {"name": example.name, "variants": variants, "extra": extra, **texts}

    def null_tensors(self) -> dict[str, Tensor]:
        """The null forms that clips share, as they are stored."""
        return {name: self._stored(name, tensor) for name, tensor in self.null.items()}

    def _conditions(self, parts: Parts, prompt: Prompt) -> dict[str, Tensor]:
        """The tensors of all conditions, with null forms where they differ from the shared one."""
        tensors: dict[str, Tensor] = {}
        for name, condition in conditions_of(_frozen(parts), [prompt]).items():
            tensors |= condition_tensors(name, condition)
            if condition.null is not None:
                null = condition_tensors(name, condition.null)
                shared = (self.null.get(n) for n in null)
                if any(s is None or not torch.equal(t, s) for t, s in zip(null.values(), shared)):
                    tensors |= condition_tensors(f"{name}/null", condition.null)
        return tensors

    @torch.no_grad()
    def _null(self) -> dict[str, Tensor]:
        """The null forms of the conditions of a prompt without anything."""
        tensors: dict[str, Tensor] = {}
        for name, condition in conditions_of(_frozen(self.parts[0]), [Prompt()]).items():
            if condition.null is not None:
                tensors |= condition_tensors(name, condition.null)
        return tensors

    @torch.no_grad()
    def _media_fields(self) -> tuple[str, ...]:
        """The media of a prompt that a trainable encoder's conditions depend on."""
        form = self.parts[0].format
        encoders: Iterable[Any] = self.parts[0].encoders.values()
        trainable = [encoder for encoder in encoders if not is_frozen(encoder)]
        modes = [(encoder, encoder.training) for encoder in trainable]
        generator = torch.Generator().manual_seed(0)
        size = (form.height, form.width, 3)
        image = torch.randint(256, size, dtype=torch.uint8, generator=generator)
        voice = torch.rand(form.channels, form.sample_rate, generator=generator) - 0.5
        full = Prompt("a", "b", "c", image=image, voice=voice)
        lacking = {
            "image": attrs.evolve(full, image=None),
            "voice": attrs.evolve(full, voice=None),
        }
        try:
            for encoder in trainable:
                encoder.eval()
            whole = conditions_of(trainable, [full])
            return tuple(
                field
                for field in MEDIA
                if _differ(whole, conditions_of(trainable, [lacking[field]]))
            )
        finally:
            for encoder, training in modes:
                encoder.train(training)

    def _stored(self, name: str, tensor: Tensor) -> Tensor:
        floating = tensor.is_floating_point() and not name.startswith("prompt/")
        return (tensor.to(self.dtype) if floating else tensor).detach().cpu().contiguous()


def _differ(one: Mapping[str, Condition], other: Mapping[str, Condition]) -> bool:
    return any(
        one[n].tokens.shape != other[n].tokens.shape
        or not torch.equal(one[n].tokens, other[n].tokens)
        or not torch.equal(one[n].mask, other[n].mask)
        for n in one
    )


def _frozen(parts: Parts) -> list[nn.Module]:
    encoders: Iterable[Any] = parts.encoders.values()
    return [encoder for encoder in encoders if is_frozen(encoder)]


def _parts(recipe: Recipe, formats: Sequence[Format]) -> tuple[Parts, ...]:
    """The parts for each format, without the denoiser's weights."""
    sizes: dict[tuple[int, int], Parts] = {}
    made = []
    for form in formats:
        size = form.height, form.width
        if size not in sizes:
            parts = build(attrs.evolve(recipe, format=form), recipe.train.seed, empty=("denoiser",))
            first = next(iter(sizes.values()), parts)
            encoders = {
                name: first.encoders[name] if _has_weights(encoder) else encoder
                for name, encoder in parts.encoders.items()
            }
            sizes[size] = attrs.evolve(parts, encoders=encoders)
        made.append(attrs.evolve(sizes[size], format=form))
    return tuple(made)


def _has_weights(encoder: Any) -> bool:
    return next(iter(encoder.parameters()), None) is not None

"""The data contract: what flows between parts. Nothing here knows a part, and importing it imports
no torch.

Shapes: B samples, T latents in time (axis 1 in both streams), H x W latent grid, C channels, L
condition tokens, D their width. Time 0 is data and 1 is noise: x_t = (1 - t) x + t n, velocity v =
n - x, so x = x_t - t v.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STREAMS = ("video", "audio")

S = TypeVar("S")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class AV(Generic[S]):
    """One thing per stream: latents, times, clocks, codecs, weights.

    Of latents: `video` [B, T_v, H, W, C], `audio` [B, T_a, C]. `None` means that the stream is
    absent, which is not the same as mute.
    """

    video: S | None = None
    audio: S | None = None

    def __getitem__(self, stream: str) -> S:
        """What `stream` ("video" or "audio") holds. Raises KeyError where it is absent."""
        value = getattr(self, stream) if stream in STREAMS else None
        if value is None:
            raise KeyError(f"no {stream!r} stream here; present: {', '.join(self) or 'none'}")
        return value

    def __iter__(self) -> Iterator[str]:
        """The names of the streams that are present."""
        return (stream for stream in STREAMS if getattr(self, stream) is not None)

    def map(self, function: Callable[..., R | None], *others: AV[Any]) -> AV[R]:
        """`function(self[s], *(other[s] ...))` for each stream that is present here and in all
        others.
        """

        def at(stream: str) -> R | None:
            values = [getattr(av, stream) for av in (self, *others)]
            return None if any(value is None for value in values) else function(*values)

        return AV(at("video"), at("audio"))

    def only(self, streams: Collection[str]) -> AV[S]:
        """The same without the streams that aren't named."""
        return AV(
            self.video if "video" in streams else None, self.audio if "audio" in streams else None
        )

    def replace(self, **streams: S | None) -> AV[S]:
        """The same with some streams exchanged; `None` takes one away."""
        return AV(**{"video": self.video, "audio": self.audio} | streams)


@attrs.frozen(eq=False)
class Times:
    """The time of every latent of one stream, as few distinct values and an index, so that
    modulation is computed once per value.

    `values` [B, U] floating point (U is 1 or 2 as a rule: target and clean reference); `index` [B,
    T] int64 into U.
    """

    values: Tensor
    index: Tensor

    @classmethod
    def uniform(cls, value: Tensor, latents: int) -> Times:
        """One time per sample: `value` [B], for `latents` latents."""
        import torch

        return cls(
            value[:, None], torch.zeros(len(value), latents, dtype=torch.long, device=value.device)
        )

    def per_latent(self) -> Tensor:
        """[B, T]: the time of each latent."""
        return self.values.gather(1, self.index)

    def clean_where(self, where: Tensor) -> Times:
        """The same with time 0 for the latents of `where` [B, T] (bool). Adds one value."""
        import torch

        zero = torch.zeros_like(self.values[:, :1])
        return Times(
            torch.cat([self.values, zero], dim=1),
            self.index.masked_fill(where, self.values.shape[1]),
        )


@attrs.frozen(eq=False)
class Condition:
    """What an encoder says to a denoiser.

    `tokens` [B, L, D], or latents of a stream ([B, T, H, W, C] or [B, T, C]) where the denoiser
    takes them as clean tokens; `mask` [B, L] bool, True where a token counts; `null`, its dropped
    form, of the same shapes.
    """

    tokens: Tensor
    mask: Tensor
    null: Condition | None = None

    def dropped(self) -> Condition:
        """The null form, which is its own null form."""
        return self if self.null is None else self.null

    def drop_rows(self, rows: Tensor) -> Condition:
        """The null form for the samples of `rows` [B] (bool), the condition itself for the
        others.
        """
        null = self.dropped()
        wide = rows.reshape(-1, *(1,) * (self.tokens.ndim - 1))
        return attrs.evolve(
            self,
            tokens=null.tokens.where(wide, self.tokens),
            mask=null.mask.where(rows[:, None], self.mask),
        )

    def rows(self, index: Tensor) -> Condition:
        """The samples of `index` [M] (int64), in that order."""
        return Condition(
            self.tokens[index],
            self.mask[index],
            None if self.null is None else self.null.rows(index),
        )

    def to(self, device: torch.device | str) -> Condition:
        """The condition, with its null form, on `device`."""
        null = None if self.null is None else self.null.to(device)
        return Condition(self.tokens.to(device), self.mask.to(device), null)


Conditions = Mapping[str, Condition]


def drop(conditions: Conditions, names: Collection[str]) -> dict[str, Condition]:
    """The conditions with those of `names` in their null form. Names that aren't present are no
    error: there is nothing to drop.
    """
    return {
        name: condition.dropped() if name in names else condition
        for name, condition in conditions.items()
    }


@attrs.frozen(eq=False)
class Prompt:
    """What a user, or a data set, asks for; each encoder reads its own field. Absent fields are
    `None`.

    `image` uint8 [H, W, 3] and `voice` float32 [samples] are in the model's own format (size,
    sample rate). Third-party encoders read `extra`.
    """

    caption: str | None = None
    sound: str | None = None
    speech: str | None = None
    image: Tensor | None = None
    voice: Tensor | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict)


def fraction(value: Fraction | float | str) -> Fraction:
    """Of a float what is written counts, as in TOML: 29.97 is 2997/100, not the nearest float's 53
    bits.
    """
    return Fraction(str(value) if isinstance(value, float) else value)


@attrs.frozen
class Format:
    """The form in which a model sees clips: `fps` frames a second of `height` x `width` pixels,
    mono sound at `sample_rate` Hz, `seconds` long.
    """

    fps: Fraction = attrs.field(converter=fraction)
    height: int = attrs.field(validator=attrs.validators.ge(1))
    width: int = attrs.field(validator=attrs.validators.ge(1))
    sample_rate: int = attrs.field(validator=attrs.validators.ge(1))
    seconds: float = attrs.field(validator=attrs.validators.gt(0))

    @fps.validator
    def _positive(self, attribute: object, value: Fraction) -> None:
        if value <= 0:
            raise ValueError(f"fps must be above 0, not {value}")

    @property
    def frames(self) -> int:
        """Frames of a clip of the default length."""
        return max(1, round(self.fps * Fraction(self.seconds)))

    def samples(self, frames: int) -> int:
        """Sound samples that last exactly as long as `frames` frames, to the nearest one."""
        return round(frames / self.fps * self.sample_rate)

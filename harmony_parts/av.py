"""The data contract: the values that are passed between parts. Imports no torch.

Shapes: B samples, T latents in time (axis 1 in both streams), H x W latent grid, C channels, L
condition tokens, D their width.

Time 0 is data x, time 1 is noise n: x_t = (1 - t) x + t n, with velocity v = n - x, so the clean
estimate is x = x_t - t v.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    import numpy
    import torch
    from PIL import Image
    from torch import Tensor

    Array = Tensor | numpy.ndarray[Any, Any]
    Picture = Array | Image.Image

STREAMS = ("video", "audio")

S = TypeVar("S")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True, eq=False, slots=True, repr=False)
class AV(Generic[S]):
    """A pair of values, one per stream: latents, times, clocks, codecs, loss weights.

    Latents are `video` [B, T_v, H, W, C] and `audio` [B, T_a, C]. `None` means that the stream is
    absent, which is not the same as silence or a black picture. Instances are compared by identity.

        av = AV(video=latents_v, audio=latents_a)
        av.map(torch.zeros_like)          # one call per present stream
        [av[stream] for stream in av]     # iterates over the names of the present streams
    """

    video: S | None = None
    audio: S | None = None

    def __getitem__(self, stream: str) -> S:
        """The value of `stream`, "video" or "audio". Raises KeyError if the stream is absent."""
        value = getattr(self, stream) if stream in STREAMS else None
        if value is None:
            raise KeyError(f"no {stream!r} stream here; present: {', '.join(self) or 'none'}")
        return value

    def __iter__(self) -> Iterator[str]:
        """The names of the present streams, video first."""
        return (stream for stream in STREAMS if getattr(self, stream) is not None)

    def __repr__(self) -> str:
        """The streams; of tensors and arrays only type and shape."""
        return f"AV({', '.join(f'{stream}={described(self[stream])}' for stream in self)})"

    def _repr_html_(self) -> str:
        """In a notebook: shapes, and pictures of latents."""
        from harmony_parts.display.html import latents_html

        return latents_html(repr(self), {stream: self[stream] for stream in self})

    def map(self, function: Callable[..., R | None], *others: AV[Any]) -> AV[R]:
        """Apply `function(self[s], *(other[s] ...))` to every stream s that all arguments have.

        A stream is absent from the result if one of them lacks it or `function` returns `None`.
        """

        def at(stream: str) -> R | None:
            values = [getattr(av, stream) for av in (self, *others)]
            return None if any(value is None for value in values) else function(*values)

        return AV(at("video"), at("audio"))

    def only(self, streams: Collection[str]) -> AV[S]:
        """A copy that keeps only these streams."""
        return AV(
            self.video if "video" in streams else None, self.audio if "audio" in streams else None
        )

    def replace(self, **streams: S | None) -> AV[S]:
        """A copy with other values for some streams; `None` removes a stream."""
        return AV(**{"video": self.video, "audio": self.audio} | streams)


@attrs.frozen(eq=False)
class Times:
    """The flow time of every latent of one stream: few distinct values, and an index into them.

    `values` [B, U] are floating point; U is usually 1 or 2 (target and clean reference), so
    modulation is computed once per value. `index` [B, T] int64 selects a value for each latent.
    """

    values: Tensor
    index: Tensor

    @classmethod
    def uniform(cls, value: Tensor, latents: int) -> Times:
        """The same time for all `latents` latents of a sample: `value` [B]."""
        import torch

        return cls(
            value[:, None], torch.zeros(len(value), latents, dtype=torch.long, device=value.device)
        )

    @classmethod
    def cat(cls, parts: Sequence[Times]) -> Times:
        """The samples of all parts, in order; parts with fewer values than others get zeros."""
        import torch

        most = max(part.values.shape[1] for part in parts)
        values = [
            torch.nn.functional.pad(values, (0, more)) if more else values
            for values in (part.values for part in parts)
            for more in [most - values.shape[1]]
        ]
        return cls(torch.cat(values), torch.cat([part.index for part in parts]))

    def rows(self, index: Tensor) -> Times:
        """The samples selected by `index` [M] (int64), in that order."""
        return Times(self.values[index], self.index[index])

    def to(self, latents: Tensor) -> Times:
        """A copy on the device of `latents`, with values of their type."""
        return Times(self.values.to(latents), self.index.to(latents.device))

    def per_latent(self) -> Tensor:
        """The time of each latent, [B, T]."""
        return self.values.gather(1, self.index)

    def clean_where(self, mask: Tensor) -> Times:
        """A copy with time 0 for the latents selected by `mask` [B, T] (bool); U grows by 1."""
        import torch

        zero = torch.zeros_like(self.values[:, :1])
        return Times(
            torch.cat([self.values, zero], dim=1),
            self.index.masked_fill(mask, self.values.shape[1]),
        )


@attrs.frozen(eq=False)
class Condition:
    """A condition of the denoiser, made by an encoder.

    `tokens` are [B, L, D], or clean latents of a stream ([B, T, H, W, C] or [B, T, C]) if they
    enter the denoiser as `clean_tokens`. `mask` [B, L] bool is True for valid tokens. `null` is the
    unconditional form, with the same shapes, used for guidance and condition dropout.
    """

    tokens: Tensor
    mask: Tensor
    null: Condition | None = None

    def dropped(self) -> Condition:
        """The null form, or the condition itself if it has none."""
        return self if self.null is None else self.null

    def with_null(self, other: Condition) -> Condition:
        """A copy whose null form is `other`; the shorter one gets tokens that its mask excludes."""
        length = max(self.tokens.shape[1], other.tokens.shape[1])
        return attrs.evolve(self._padded(length), null=other._padded(length))

    def _padded(self, length: int) -> Condition:
        """`length` tokens without a null form."""
        more = length - self.tokens.shape[1]
        if not more:
            return Condition(self.tokens, self.mask)
        import torch

        tokens = self.tokens.new_zeros(len(self.tokens), more, *self.tokens.shape[2:])
        mask = self.mask.new_zeros(len(self.mask), more)
        return Condition(torch.cat([self.tokens, tokens], 1), torch.cat([self.mask, mask], 1))

    def drop_rows(self, rows: Tensor) -> Condition:
        """A copy with the null form for the samples selected by `rows` [B] (bool)."""
        null = self.dropped()
        wide = rows.reshape(-1, *(1,) * (self.tokens.ndim - 1))
        return attrs.evolve(
            self,
            tokens=null.tokens.where(wide, self.tokens),
            mask=null.mask.where(rows[:, None], self.mask),
        )

    def rows(self, index: Tensor) -> Condition:
        """The samples selected by `index` [M] (int64), in that order."""
        return Condition(
            self.tokens[index],
            self.mask[index],
            None if self.null is None else self.null.rows(index),
        )

    def to(self, device: torch.device | str) -> Condition:
        """A copy on `device`, with its null form."""
        null = None if self.null is None else self.null.to(device)
        return Condition(self.tokens.to(device), self.mask.to(device), null)


Conditions = Mapping[str, Condition]


def drop(conditions: Conditions, names: Collection[str]) -> dict[str, Condition]:
    """The conditions, those in `names` replaced by their null form.

    Names without a condition are ignored.
    """
    return {
        name: condition.dropped() if name in names else condition
        for name, condition in conditions.items()
    }


def as_tensor(value: Picture | None) -> Tensor | None:
    """The tensor of a numpy array, or of a PIL picture as uint8 [H, W, 3]; a tensor as it is.

    An array's memory is shared where that is possible. float64, numpy's default, becomes float32.
    """
    # whatever a value is an instance of has been imported
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(value, pil.Image):
        import numpy as np
        from PIL import ImageOps

        value = np.array(ImageOps.exif_transpose(value).convert("RGB"))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        import torch

        kind = numpy.float32 if value.dtype == numpy.float64 else value.dtype
        # copies views with negative steps, such as BGR as RGB, and read-only memory
        return torch.from_numpy(numpy.require(value, kind, ("C", "W")))
    return value  # type: ignore[return-value]  # what it isn't is refused by whoever takes it


def described(value: object) -> str:
    """Type and shape of a tensor or an array, and its device unless that is the CPU."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return repr(value)
    device = str(getattr(value, "device", "cpu"))
    where = "" if device == "cpu" else f" on {device}"
    return f"{str(dtype).removeprefix('torch.')} {list(shape)}{where}"


@attrs.frozen(eq=False)
class Prompt:
    """What to generate; each encoder reads its own field. Absent fields are `None`.

    `caption` describes the video, `sound` the audio, `speech` is the text that is spoken. `image`
    uint8 [H, W, 3] is the first frame and `voice` float32 [channels, samples] a reference of the
    speaker, both in the model's format (size; sample rate and channels); numpy arrays and PIL
    pictures become tensors. Encoders of third parties read `extra`. `negative` takes the place of
    the null form: passes of a guidance that drop conditions get those of `negative` instead.
    """

    caption: str | None = None
    sound: str | None = None
    speech: str | None = None
    image: Tensor | None = attrs.field(default=None, converter=as_tensor)
    voice: Tensor | None = attrs.field(default=None, converter=as_tensor)
    extra: Mapping[str, Any] = attrs.field(factory=dict)
    negative: Prompt | None = None


@attrs.frozen
class Event:
    """An event that is visible and audible at `time` seconds; `what` names it.

    `place` is its (x, y) in the picture, from (0, 0) at the top left to (1, 1) of the largest
    centred square. An event of one stream alone, such as a sound from outside the picture, has
    only that stream in `streams`.
    """

    time: float
    what: str
    place: tuple[float, float] | None = None
    streams: tuple[str, ...] = STREAMS


@attrs.frozen
class Phoneme:
    """A phoneme that lasts from `start` to `end` seconds, said by the speaker of that number."""

    start: float
    end: float
    symbol: str
    speaker: int = 0


@attrs.frozen(eq=False)
class Truth:
    """What is known about a clip beside its events, which are those of the picture.

    `phonemes` in order of time, and the opening of each speaker's mouth, 0 to 1, in the middle of
    each frame: `mouth` float32 [speakers, frames]. `speakers` names their voices. The sound is
    `offset` seconds after the picture.
    """

    phonemes: tuple[Phoneme, ...] = ()
    mouth: Tensor | None = None
    speakers: tuple[str, ...] = ()
    offset: float = 0.0


def fraction(value: Fraction | float | str) -> Fraction:
    """A fraction; a float counts by its decimal digits, as in TOML: 29.97 is 2997/100."""
    return Fraction(str(value) if isinstance(value, float) else value)


def channel_layout(channels: int) -> str:
    """What a number of channels of sound is called: "mono", "stereo", "6 channels"."""
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


@attrs.frozen
class Format:
    """The format of a model's clips.

    `fps` frames per second (a fraction) of `height` x `width` pixels, sound at `sample_rate` Hz in
    `channels` channels (1 is mono; 2 is stereo, the left one first), and a default length of
    `seconds`. Raises ValueError if a number isn't positive.
    """

    fps: Fraction = attrs.field(converter=fraction)
    height: int = attrs.field(validator=attrs.validators.ge(1))
    width: int = attrs.field(validator=attrs.validators.ge(1))
    sample_rate: int = attrs.field(validator=attrs.validators.ge(1))
    seconds: float = attrs.field(validator=attrs.validators.gt(0))
    channels: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    @fps.validator
    def _positive(self, attribute: object, value: Fraction) -> None:
        if value <= 0:
            raise ValueError(f"fps must be above 0, not {value}")

    @property
    def frames(self) -> int:
        """The number of frames of a clip of the default length."""
        return max(1, round(self.fps * Fraction(self.seconds)))

    def samples(self, frames: int) -> int:
        """The number of samples of a channel that last as long as `frames` frames, rounded."""
        return round(frames / self.fps * self.sample_rate)

"""Video latents without weights: a fixed set of coefficients of a 3-D cosine transform.

Every step before the coefficients are selected is orthonormal, so an error in the latents (before
`whiten`) is the same error in the pixels.
"""

from __future__ import annotations

import math

import attrs
import torch
from einops import rearrange, repeat
from torch import Tensor

from harmony_parts.av import Format
from harmony_parts.codecs.causal import (
    check_latents,
    fill_last_latent,
    frames_of,
    intervals,
    latents_of,
    to_uint8,
)
from harmony_parts.plugin import knob

# The prior: the expected standard deviation of a coefficient is frequency ** -2, with
# frequency = STRETCH[plane] * (1 / block + fy + fx + TIME * ft), f in half-cycles per pixel or
# frame.
# Its order is JPEG's zigzag in three dimensions. The constants were chosen on thirteen real clips
# 64 pixels high: those of the order for the worst clip's PSNR (+1.1 dB over the root of a sum of
# squares); the power by the coefficients' standard deviations (brightness over three octaves:
# measured 56 to 1, power 2 gives 64 to 1, power 1 would give 8 to 1).
STRETCH = (1.0, 2.0, 3.2)  # factor on the frequencies of the colour planes
TIME = 0.8
CONTRAST = 0.5  # standard deviation of a pixel in [-1, 1], about its middle grey


def cosines(n: int) -> Tensor:
    """The orthonormal DCT-II, float64 [frequency n, position n].

    For the three colours (sum, red - blue, green) it is Ohta's I1 I2 I3.
    """
    place = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi / n * place[:, None] * (place + 0.5)) * math.sqrt(2 / n)
    matrix[:1] /= math.sqrt(2)
    return matrix


def lapped_cosines(n: int, block: int) -> Tensor:
    """The orthonormal lapped transform, float64 [n, n]: a filter across block borders, then a DCT.

    Its bases reach half a block into the neighbours and fall off smoothly. A constant signal is
    represented by only the first coefficient of each block. Source: Malvar and Staelin's LOT
    (1989), as border filters (Tran, Liang and Tu 2003, doi:10.1109/TSP.2003.811222).
    """
    half = block // 2
    transform = torch.block_diag(*[cosines(block)] * (n // block))
    if not half:
        return transform
    place = torch.arange(half, dtype=torch.float64) + 0.5
    dct4 = torch.cos(math.pi / half * place[:, None] * place) * math.sqrt(2 / half)
    one = torch.eye(half, dtype=torch.float64)
    # its own inverse
    butterfly = torch.cat(
        [torch.cat([one, one.flip(0)], 1), torch.cat([one.flip(0), -one], 1)]
    ) * math.sqrt(0.5)
    border = butterfly @ torch.block_diag(one, (cosines(half).T @ dct4).flip(0, 1)) @ butterfly
    across = torch.eye(n, dtype=torch.float64)
    for edge in range(block, n, block):
        across[edge - half : edge + half, edge - half : edge + half] = border
    return transform @ across


def frequencies(block: int, frames: int) -> Tensor:
    """The prior's frequency of each coefficient, float64 [frames * block * block * 3].

    The order is the transform's: time, y, x, colour.
    """
    time = TIME * torch.arange(frames, dtype=torch.float64) / frames
    space = torch.arange(block, dtype=torch.float64) / block
    plane = torch.tensor(STRETCH, dtype=torch.float64)
    return (
        plane * (1 / block + time[:, None, None, None] + space[:, None, None] + space[:, None])
    ).flatten()


@attrs.frozen
class DCTVideo:
    """A video codec without weights: a fixed set of coefficients of a 3-D cosine transform.

    Frames uint8 [B, F, H, W, 3] <-> latents [B, T, H / block, W / block, keep], F = 1 +
    frames_per_latent (T - 1): the first latent encodes one frame, repeated. So an image is exactly
    one latent, and a repeated image has that latent at every position. By default the latents have
    8 times fewer numbers than the pixels (from 74 frames on). Source: see `lapped_cosines`.
    """

    block: int = knob(
        8,
        help="height and width of the block that one latent encodes",
        unit="pixels",
        validator=attrs.validators.ge(1),
    )
    frames_per_latent: int = knob(
        4,
        help="frames per latent; the first latent encodes one",
        unit="frames",
        off=1,
        validator=attrs.validators.ge(1),
    )
    keep: int = knob(
        88,
        help="coefficients per latent, those of the highest expected energy; 0 for all",
        off=0,
        validator=attrs.validators.ge(0),
        source="8x fewer numbers than pixels, and above 30 dB on the real clips at 64 pixels of height",  # noqa: E501
    )
    lapped: bool = knob(
        True,
        help="overlap blocks by half a block, which hides their borders",
        off=False,
        source="doi:10.1109/TSP.2003.811222",
    )
    whiten: float = knob(
        0.5,
        help=(
            "exponent of the normalisation: 0 for a rotation of the pixels, 1 to divide each"
            " coefficient by its expected standard deviation"
        ),
        off=0.0,
        validator=[attrs.validators.ge(0), attrs.validators.le(1)],
    )

    def build(self, *, format: Format) -> DCTVideoCodec:
        """The codec for frames of the format's size.

        Raises ValueError if `block` doesn't divide it, or `keep` exceeds the coefficients.
        """
        for name in ("height", "width"):
            if getattr(format, name) % self.block:
                raise ValueError(
                    f"{name} {getattr(format, name)} is not a multiple of block {self.block}:"
                    " change one of them"
                )
        numbers = self.frames_per_latent * self.block**2 * 3
        if self.keep > numbers:
            raise ValueError(
                f"keep {self.keep} is more than the {numbers} coefficients of a latent: lower it,"
                " or set 0 to keep all"
            )
        return DCTVideoCodec(self, format)


class DCTVideoCodec:
    """The VideoCodec of `DCTVideo`.

    `analyse` and `synthesise` are the linear, differentiable part of `encode` and `decode`.
    """

    def __init__(self, spec: DCTVideo, format: Format) -> None:
        self.spec, self.format = spec, format
        self.grid = (format.height // spec.block, format.width // spec.block)
        frequency = frequencies(spec.block, spec.frames_per_latent)
        self.channels = spec.keep or len(frequency)
        # Rounding to nine digits makes equal frequencies equal despite floating-point error, so the
        # order is the same on every machine.
        self._order = frequency.mul(1e9).round().argsort(stable=True)[: self.channels]
        # standard deviations, relative to that of the mean of a still block
        expected = (frequency[self._order] / frequency.min()) ** -2
        scale = expected**-spec.whiten
        # of that mean, in pixels of [-1, 1]: the root of as many numbers as it sums
        deviation = CONTRAST * math.sqrt(len(frequency))
        self._scale = scale / (deviation * (scale * expected).square().mean().sqrt())
        space = (
            lapped_cosines
            if spec.lapped
            else lambda n, block: torch.block_diag(*[cosines(block)] * (n // block))
        )
        self._matrices = (
            space(format.height, spec.block),
            space(format.width, spec.block),
            cosines(3),
            cosines(spec.frames_per_latent),
        )
        self._at: dict[tuple[torch.device, torch.dtype], tuple[Tensor, ...]] = {}

    def _tables(self, like: Tensor) -> tuple[Tensor, ...]:
        """Rows, columns, colours, time, scale [C], order [C], where `like` is and of its type.

        Kept for the next call: an anchor needs them at each sampling step, and each copy to a GPU
        waits for it.
        """
        key = like.device, like.dtype
        if (found := self._at.get(key)) is None:
            found = (
                *(table.to(like) for table in (*self._matrices, self._scale)),
                self._order.to(like.device),
            )
            self._at = {key: found}
        return found

    def latents(self, frames: int) -> int:
        """Number of latents of `frames` frames: 1 + ceil((frames - 1) / frames_per_latent)."""
        return latents_of(frames, self.spec.frames_per_latent)

    def frames(self, latents: int) -> int:
        """Number of frames of `latents` latents: 1 + frames_per_latent (latents - 1)."""
        return frames_of(latents, self.spec.frames_per_latent)

    def clock(self, latents: int) -> Tensor:
        """float64 [latents, 2] (start, end) in seconds; the first latent lasts one frame."""
        return intervals(latents, self.spec.frames_per_latent, self.format.fps)

    def analyse(self, video: Tensor) -> Tensor:
        """Pixels in [-1, 1] [B, frames(T), H, W, 3] -> latents [B, T, h, w, C], same dtype."""
        rows, columns, colours, time, scale, order = self._tables(video)
        k, p = self.spec.frames_per_latent, self.spec.block
        video = torch.einsum("...yxc,Yy,Xx,Cc->...YXC", video, rows, columns, colours)
        video = torch.cat(
            [repeat(video[:, :1], "b 1 y x c -> b k y x c", k=k), video[:, 1:]], dim=1
        )
        blocks = rearrange(video, "b (t k) (h p) (w q) c -> b t h w k (p q c)", k=k, p=p, q=p)
        return (time @ blocks).flatten(-2)[..., order] * scale

    def synthesise(self, latents: Tensor) -> Tensor:
        """Latents [B, T, h, w, C] -> pixels about [-1, 1] [B, frames(T), H, W, 3].

        Discarded coefficients are 0. Frame 0 is the mean of the first latent's k frames.
        """
        rows, columns, colours, time, scale, order = self._tables(latents)
        k, p = self.spec.frames_per_latent, self.spec.block
        blocks = latents.new_zeros(*latents.shape[:-1], k * p * p * 3)
        blocks = blocks.index_copy(-1, order, latents / scale)
        blocks = time.T @ rearrange(blocks, "... (k n) -> ... k n", k=k)
        video = rearrange(blocks, "b t h w k (p q c) -> b (t k) (h p) (w q) c", p=p, q=p)
        video = torch.cat([video[:, :k].mean(1, keepdim=True), video[:, k:]], dim=1)
        return torch.einsum("...YXC,Yy,Xx,Cc->...yxc", video, rows, columns, colours)

    def encode(self, frames: Tensor) -> Tensor:
        """uint8 [B, F, H, W, 3] -> float32 [B, latents(F), h, w, C].

        The last frame is repeated to fill the last latent. Raises ValueError for other shapes.
        """
        frames = fill_last_latent(self, frames, self.format)
        return self.analyse(frames.float() / 127.5 - 1)

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> uint8 [B, frames(T), H, W, 3].

        Raises ValueError for other shapes, and for no latent.
        """
        check_latents(self, latents)
        return to_uint8(self.synthesise(latents.float()))

"""The network of `conv-video`: principal components of blocks, and a correction by convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional

FRAMES = 4  # frames of every latent but the first, which encodes one
STRIDE = 8  # pixels on a side of a latent
GROUPS = 8  # of GroupNorm
NOISE = 0.03  # added to the latents in training, as a share of their standard deviation
MOVING = 8.0  # additional weight of a pixel that changes by MOVED or more from frame to frame
MOVED = 0.3  # in pixels of [-1, 1]
SQUARE, EDGES, SIZE = 2.0, 0.5, 1e-4  # weights of the loss's terms, see `VideoAutoencoder.loss`
FOLLOW = 0.01  # share by which a training step moves the latents' mean and variance
SAMPLE = 1500  # latents' frames from which the principal components are computed


class Past(nn.Module):
    """Adds a linear function of the features of the two latents before; zero at the start.

    Before the first latent it is repeated, so a repeated image has the same features at all times.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = _zero(nn.Conv2d(2 * width, width, 1))

    def forward(self, x: Tensor, time: int) -> Tensor:
        """[B * time, C, h, w] -> the same shape."""
        clips = x.unflatten(0, (-1, time))
        first = clips[:, :1]
        earlier = [
            torch.cat([first.expand(-1, min(k, time), -1, -1, -1), clips[:, :-k]], 1)
            for k in (1, 2)
        ]
        mixed: Tensor = self.mix(torch.cat(earlier, 2).flatten(0, 1))
        return x + mixed


class Residual(nn.Module):
    """Two convolutions added to their input, the second zero at the start; before them a `Past`,
    if `past`.
    """

    def __init__(self, width: int, past: bool = True) -> None:
        super().__init__()
        self.past = Past(width) if past else None
        self.norm = nn.GroupNorm(GROUPS, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = _zero(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor, time: int) -> Tensor:
        """[B * time, width, h, w] -> the same shape."""
        if self.past is not None:
            x = self.past(x, time)
        change: Tensor = self.second(functional.silu(self.first(functional.silu(self.norm(x)))))
        return x + change


class Encoder(nn.Module):
    """Pixels [B, 1 + 4 (T - 1), H, W, 3] in [-1, 1] -> [B, T, H / 8, W / 8, channels].

    A linear function of each block of 4 x 8 x 8 pixels, and convolutions that add to it.
    """

    def __init__(self, channels: int, middle: int, deep: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(3 * FRAMES * 16, middle, 3, padding=1)  # patches of 4 x 4 pixels
        self.middle = Residual(middle, past=False)
        self.down = nn.Conv2d(middle, deep, 4, 2, 1)
        self.deep = nn.ModuleList([Residual(deep), Residual(deep)])
        self.end = _zero(nn.Conv2d(deep, channels, 3, padding=1))
        self.skip = nn.Conv2d(3 * FRAMES, channels, STRIDE, STRIDE)

    def forward(self, video: Tensor) -> Tensor:
        video = with_first_repeated(video)
        time = video.shape[1] // FRAMES
        linear = self.skip(rearrange(video, "b (t k) h w c -> (b t) (k c) h w", k=FRAMES))
        # one copy, into the layout of the convolutions (channels last)
        x = rearrange(video, "b (t k) (h p) (w q) c -> (b t) h w (k c p q)", k=FRAMES, p=4, q=4)
        x = self.start(x.permute(0, 3, 1, 2))
        x = self.down(self.middle(x, time))
        for block in self.deep:
            x = block(x, time)
        x = linear + self.end(functional.silu(x))
        return rearrange(x, "(b t) c h w -> b t h w c", t=time)


class Decoder(nn.Module):
    """[B, T, h, w, channels] -> pixels about [-1, 1], [B, 4 T, 8 h, 8 w, 3].

    The first four frames are all the first one. As in the encoder, convolutions add to a linear
    function of each latent.
    """

    def __init__(self, channels: int, deep: int, middle: int, fine: int) -> None:
        super().__init__()
        self.start = nn.Conv2d(channels, deep, 3, padding=1)
        self.deep = nn.ModuleList([Residual(deep), Residual(deep)])
        self.up1 = nn.Conv2d(deep, middle, 1)
        self.middle = nn.ModuleList([Residual(middle), Residual(middle)])
        self.up2 = nn.Conv2d(middle, fine, 1)
        self.fine = Residual(fine, past=False)
        self.end = _zero(nn.Conv2d(fine, 3 * FRAMES * 4, 3, padding=1))  # patches of 2 x 2 pixels
        self.skip = nn.ConvTranspose2d(channels, 3 * FRAMES, STRIDE, STRIDE)

    def forward(self, latents: Tensor) -> Tensor:
        time = latents.shape[1]
        x = rearrange(latents, "b t h w c -> (b t) c h w")
        x = x.contiguous(memory_format=torch.channels_last)
        linear = self.skip(x)
        x = self.start(x)
        for block in self.deep:
            x = block(x, time)
        x = functional.interpolate(self.up1(x), scale_factor=2, mode="nearest")
        for block in self.middle:
            x = block(x, time)
        x = functional.interpolate(self.up2(x), scale_factor=2, mode="nearest")
        x = self.end(functional.silu(self.fine(x, time)))
        change = rearrange(
            x, "(b t) (k c p q) h w -> b (t k) (h p) (w q) c", t=time, k=FRAMES, c=3, p=2, q=2
        )
        return change + rearrange(linear, "(b t) (k c) h w -> b (t k) h w c", t=time, k=FRAMES)


class VideoAutoencoder(nn.Module):
    """Encoder and decoder, with the mean and the standard deviation of each channel between them.

    `width` scales the network: the encoder has 5 and 7 times as many units at 16 x 16 and 8 x 8
    positions of a 64 x 64 picture, the decoder 8, 6 and 3 times at 8 x 8, 16 x 16 and 32 x 32.
    """

    length = 1 + 4 * FRAMES  # frames of a training example: longer ones cost, and teach no more
    slow = ("encoder.skip.", "decoder.skip.")
    ends = ("encoder.start.", "decoder.end.", *slow)

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, 5 * width, 7 * width)
        self.decoder = Decoder(channels, 8 * width, 6 * width, 3 * width)
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    @torch.no_grad()
    def begin(self, media: Sequence[Tensor], generator: torch.Generator) -> None:
        """Set the linear functions to the principal components of blocks of uint8 clips [F, ...].

        Training then begins where a linear codec ends, at some 24 dB on Soundstage.
        """
        clips = torch.randint(len(media), (SAMPLE,), generator=generator).tolist()
        frames = [media[clip] for clip in clips]
        first = [int(torch.randint(len(x) - FRAMES + 1, (), generator=generator)) for x in frames]
        video = torch.stack([x[at : at + FRAMES] for x, at in zip(frames, first, strict=True)])
        blocks = rearrange(
            video.double() / 127.5 - 1, "n k (h p) (w q) c -> (n h w) (k c p q)", p=STRIDE, q=STRIDE
        )
        mean, channels = blocks.mean(0), len(self.mean)
        variances, vectors = torch.linalg.eigh(blocks.T.cov())
        scale = variances[-channels:].flip(0).sqrt()
        vectors = vectors[:, -channels:].flip(1)
        reading, writing = (vectors / scale).T, (vectors * scale).T
        skip, back = self.encoder.skip, self.decoder.skip
        skip.weight.copy_(reading.reshape(skip.weight.shape))
        skip.bias.copy_(-(reading @ mean))  # type: ignore[union-attr]
        back.weight.copy_(writing.reshape(back.weight.shape))
        back.bias.copy_(mean.reshape(3 * FRAMES, -1).mean(1))  # type: ignore[union-attr]

    def encode(self, video: Tensor) -> Tensor:
        """[B, 1 + 4 (T - 1), H, W, 3] in [-1, 1] -> [B, T, h, w, C], of about unit scale."""
        return self._scaled(self.encoder(video).float())

    def decode(self, latents: Tensor) -> Tensor:
        """[B, T, h, w, C] -> [B, 1 + 4 (T - 1), H, W, 3] about [-1, 1]."""
        video = self.decoder(latents)
        return torch.cat([video[:, :FRAMES].mean(1, keepdim=True), video[:, FRAMES:]], 1)

    def loss(self, frames: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The loss of uint8 frames [B, 1 + 4 (T - 1), H, W, 3], and the mean squared error.

        With e the error of the pixels and w their weights: mean of w (|e| + 2 e^2), plus half the
        mean absolute value of w times e's differences along x and along y, plus 1e-4 of the mean
        square of the latents. w is 1 for a still pixel and 9 for one that moves, or has a neighbour
        that moves: mouths and small bright bodies are few pixels, and all that sync is about.
        """
        video = frames.float() / 127.5 - 1
        latents = self.encoder(video).float()
        if latents.requires_grad:  # else the encoder is frozen
            self._follow(latents.detach().flatten(0, 3))
        latents = self._scaled(latents)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        decoded = self.decoder(latents + NOISE * noise).float()
        error = decoded - with_first_repeated(video)
        weight = with_first_repeated(moving(video))
        loss = (weight * (error.abs() + SQUARE * error.square())).mean()
        across, down = error.diff(dim=3).abs(), error.diff(dim=2).abs()
        edges = (weight[:, :, :, 1:] * across).mean() + (weight[:, :, 1:] * down).mean()
        return loss + EDGES * edges + SIZE * latents.square().mean(), error.detach().square().mean()

    def _scaled(self, latents: Tensor) -> Tensor:
        return (latents - self.mean) / (self.variance + 1e-5).sqrt()

    def _follow(self, latents: Tensor) -> None:
        """Move mean and variance towards those of latents [N, C], slowly: the few clips of a step
        differ in what is the same in all of one, such as its brightness.
        """
        variance, mean = torch.var_mean(latents, 0)
        self.variance.lerp_(variance + (mean - self.mean).square(), FOLLOW)
        self.mean.lerp_(mean, FOLLOW)


def moving(video: Tensor) -> Tensor:
    """The weights of pixels in the loss, [B, F, H, W, 3] -> [B, F, H, W, 1], from 1 to 1 + MOVING.

    They grow with a pixel's change to the frame before or after, or that of a neighbour.
    """
    change = video.diff(dim=1).abs().amax(-1)
    change = torch.maximum(
        functional.pad(change, (0, 0, 0, 0, 1, 0)), functional.pad(change, (0, 0, 0, 0, 0, 1))
    )
    near = functional.max_pool2d(change, 3, 1, 1)
    return 1 + MOVING * (near / MOVED).clamp(max=1)[..., None]


def with_first_repeated(video: Tensor) -> Tensor:
    """[B, 1 + 4 (T - 1), ...] -> [B, 4 T, ...]: the first latent's four frames are all its one."""
    return torch.cat([video[:, :1].expand(-1, FRAMES - 1, *video.shape[2:]), video], 1)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer

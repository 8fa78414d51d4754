"""A small dual-branch denoiser in float64 with real codecs, and inputs for it."""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_parts.av import AV, Condition, Format, Times
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.interaction.global_cross import Global
from harmony_parts.interaction.none import NoInteraction
from harmony_parts.interaction.protocol import InteractionSpec
from harmony_parts.testing.stand_ins import StubEncoder

FORMAT = Format(fps="8", height=16, width=16, sample_rate=8000, seconds=1)
CODECS: AV[VideoCodec | AudioCodec] = AV(
    DCTVideo(block=8, frames_per_latent=1, keep=12).build(format=FORMAT),
    LogMel(latents_per_second=20, hops_per_latent=1, bands=8).build(format=FORMAT),
)
WIDTHS = {"caption": 6, "speech": 5, "sound": 6, "image": 12, "voice": 8}
INTERACTIONS = {"gldi": GLDI(), "global": Global(), "none": NoInteraction()}
B, TV, TA, L = 3, 8, 20, 4


def nonzero(module: torch.nn.Module, scale: float = 0.1) -> torch.nn.Module:
    """Give every weight that starts at zero a value, so that all paths carry something."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.copy_(torch.randn(parameter.shape, generator=g) * scale)
    return module


def build(
    interaction: str | InteractionSpec = "gldi",
    audio: object = None,
    seed: int = 0,
    fresh: bool = False,
    layers: int = 2,
    heads: int = 2,
    **settings: object,
) -> BranchDenoiser:
    """`fresh` leaves the weights that start at zero at zero."""
    spec = DualBranch(
        layers=layers,
        video=VideoTransformer(width=24, heads=heads, feed=32, patch=1),
        audio=audio or MMDiT(width=16, heads=heads, feed=32),
        interaction=INTERACTIONS[interaction] if isinstance(interaction, str) else interaction,
        **settings,
    )
    torch.manual_seed(seed)
    denoiser = spec.build(
        codecs=CODECS,
        encoders={
            "all": StubEncoder(
                **(WIDTHS if audio is None else {"caption": 6, "sound": 6, "image": 12})
            )
        },
    )
    return (denoiser if fresh else nonzero(denoiser)).double()


def inputs(seed: int = 0) -> tuple[AV[Tensor], dict[str, Condition]]:
    """Noise for both streams, and all conditions with masks of several lengths."""
    g = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    def mask(n: int, lengths: tuple[int, ...]) -> Tensor:
        return torch.arange(n) < torch.tensor(lengths)[:, None]

    conditions = {
        name: Condition(noise(B, L, WIDTHS[name]), mask(L, (4, 2, 1)))
        for name in ("caption", "speech", "sound")
    }
    conditions["voice"] = Condition(noise(B, 5, 8), mask(5, (5, 3, 0)))
    conditions["image"] = Condition(noise(B, 1, 2, 2, 12), mask(1, (1, 0, 1)))
    return AV(noise(B, TV, 2, 2, 12), noise(B, TA, 8)), conditions


def at(video: float | tuple[float, ...], audio: float | tuple[float, ...]) -> AV[Times]:
    """Times of both streams, one for all samples or one each."""

    def times(t: float | tuple[float, ...], n: int) -> Times:
        return Times.uniform(
            torch.tensor(t if isinstance(t, tuple) else (t,) * B, dtype=torch.float64), n
        )

    return AV(times(video, TV), times(audio, TA))

"""What a process that shares a clip sends to the others."""

from __future__ import annotations

import torch
from helpers import small_denoiser as small

from harmony_parts.cost.shared import Exchange, Messages
from harmony_parts.interaction.gldi import GLDI
from harmony_parts.layers.sequence import VideoShare
from harmony_parts.style.none import NoStyle


def test_messages_are_counted_where_they_are_sent() -> None:
    """q, k, v, result of each self-attention; k, v, result of the audio's; the video's end."""
    denoiser, messages = small.build(GLDI(style=NoStyle())), Messages()
    denoiser.share_video(VideoShare(0, 2, lambda rows: Exchange.apply(rows, messages)))
    av, conditions = small.inputs()
    out = denoiser(av, small.at(0.5, 0.5), conditions)
    tokens = small.B * small.TV * 4 // 2  # of this process
    # half of the numbers go to the other process: of its tokens, and of all latents of the audio
    layer = (tokens * (4 * 24 + 2 * 16) + small.B * small.TA * 16) // 2
    forward = 8 * (2 * layer + tokens * 24)  # bytes of float64, in two layers
    assert messages.sent == forward
    torch.stack([out[stream].sum() for stream in out]).sum().backward()
    assert messages.sent == 2 * forward

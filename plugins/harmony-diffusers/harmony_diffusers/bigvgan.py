"""The vocoder of MMAudio's 16 kHz form. Importing this imports diffusers."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import MMAudioVocoder
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn


class BigVGAN16k(MMAudioVocoder):
    """BigVGAN as trained by Make-An-Audio 2 (arXiv:2305.18474).

    Its last convolution has a bias and is followed by tanh. The vocoder for 44.1 kHz, diffusers'
    MMAudioVocoder, has neither. Diffusers' clamp to [-1, 1] after it has no effect here.
    """

    @register_to_config
    def __init__(
        self,
        num_mels: int = 80,
        upsample_initial_channel: int = 1536,
        upsample_rates: tuple[int, ...] = (4, 4, 2, 2, 2, 2),
        upsample_kernel_sizes: tuple[int, ...] = (8, 8, 4, 4, 4, 4),
        resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11),
        resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
    ) -> None:
        settings = (
            num_mels,
            upsample_initial_channel,
            upsample_rates,
            upsample_kernel_sizes,
            resblock_kernel_sizes,
            resblock_dilation_sizes,
        )
        super().__init__(*settings)
        self.conv_post = TanhConv1d(
            upsample_initial_channel // 2 ** len(upsample_rates), 1, 7, padding=3
        )


class TanhConv1d(nn.Conv1d):
    """tanh(convolution)."""

    def forward(self, input: Tensor, *args: Any) -> Tensor:
        """[B, C, T] -> [B, C', T]."""
        return torch.tanh(super().forward(input, *args))

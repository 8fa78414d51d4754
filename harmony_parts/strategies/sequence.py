"""Processes that share the tokens of a video, by all-to-all messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from harmony_parts.errors import RunError
from harmony_parts.layers.sequence import WHOLE, SharesVideo, VideoShare


def make_share(device: str, ranks: int, seq: int) -> VideoShare:
    """The share of this process in its group of `seq` processes.

    Those of a group follow one another, so that they are on one machine.
    """
    if seq == 1:
        return WHOLE
    mesh = init_device_mesh(device, (ranks // seq, seq), mesh_dim_names=("clips", "seq"))
    group = mesh["seq"].get_group()
    return VideoShare(group.rank(), seq, lambda rows: AllToAll.apply(rows, group))


def share_tokens(units: Sequence[nn.Module], share: VideoShare) -> None:
    """Give the networks among the units this share of the tokens.

    Raises RunError if a network can't compute a share, or there is none.
    """
    networks = [unit for unit in units if isinstance(unit, SharesVideo)]
    try:
        for network in networks:
            network.share_video(share)
    except ValueError as error:
        raise RunError(f"$.train.strategy.seq: {error}") from None
    if not networks:
        raise RunError("$.train.strategy.seq: this denoiser can't compute a part of the tokens")


class AllToAll(torch.autograd.Function):
    """Row i goes to process i. The adjoint is the same: gradients go back where rows came from."""

    @staticmethod
    def forward(context: Any, rows: Tensor, group: dist.ProcessGroup) -> Tensor:
        """Send and receive."""
        context.group = group
        received = torch.empty_like(rows)
        dist.all_to_all_single(received, rows, group=group)
        return received

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        """The gradients of the rows that were sent."""
        return AllToAll.apply(gradients[0].contiguous(), context.group), None

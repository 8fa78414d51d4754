"""What a branch makes of its conditions: tokens to attend to, a clean reference, and what joins the
time embedding.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import Condition, Conditions
from harmony_parts.branches.protocol import How
from harmony_parts.layers.linear import mlp


@attrs.frozen(eq=False)
class BranchConditions:
    """`context` [B, L, D] with `context_mask` [B, L] (`None`: all count); `add` [B, D]; `reference`
    (latents [B, R, C] and a mask [B, R]).
    """

    context: Tensor | None = None
    context_mask: Tensor | None = None
    add: Tensor | None = None
    reference: Condition | None = None


class ConditionProjector(nn.Module):
    """Brings conditions of any widths to a branch's width, each by an MLP as in Wan; where several
    are `context`, each gets an embedding of its own, so that the branch knows who speaks."""

    def __init__(self, width: int, conditions: Mapping[str, tuple[How, int]]) -> None:
        super().__init__()
        self.ways = {name: how for name, (how, _) in conditions.items()}
        self.projections = nn.ModuleDict(
            {
                name: mlp(size, width, width)
                for name, (how, size) in conditions.items()
                if how != "clean_tokens"
            }
        )
        speakers = [name for name, how in self.ways.items() if how == "context"]
        self.groups = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(width) * 0.02)
                for name in speakers
                if len(speakers) > 1
            }
        )

    def forward(self, conditions: Conditions) -> BranchConditions:
        """The conditions of this branch, in the order in which it was built for them. Raises
        KeyError for one that is missing.
        """
        context, masks, add, reference = [], [], [], None
        for name, how in self.ways.items():
            condition = conditions[name]
            if how == "clean_tokens":
                reference = condition
                continue
            # of latents [B, T, H, W, C] too
            tokens = self.projections[name](condition.tokens).flatten(1, -2)
            mask = condition.mask.repeat_interleave(
                tokens.shape[1] // condition.mask.shape[1], dim=1
            )
            if how == "context":
                context.append(tokens + self.groups[name] if name in self.groups else tokens)
                masks.append(mask)
            else:  # the mean of the tokens that count; nothing where none does
                weight = mask[..., None].to(tokens.dtype)
                add.append((tokens * weight).sum(1) / weight.sum(1).clamp_min(1))
        return BranchConditions(
            torch.cat(context, dim=1) if context else None,
            _mask(torch.cat(masks, dim=1)) if masks else None,
            torch.stack(add).sum(0) if add else None,
            reference,
        )


def _mask(mask: Tensor) -> Tensor | None:
    """`None` where all tokens count: attention without a mask is faster. Looked up once per set of
    conditions, since a caller keeps what is told.
    """
    return None if mask.is_meta or bool(mask.all()) else mask

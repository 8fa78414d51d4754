"""The conditions of a branch at its width: context tokens, a clean reference, and what is added."""

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
    """The conditions of one branch, at its width D.

    `context` [B, L, D] with `context_mask` [B, L] (`None`: all tokens count); `add` [B, D], for the
    time embedding; `reference`: latents [B, R, C] with a mask [B, R].
    """

    context: Tensor | None = None
    context_mask: Tensor | None = None
    add: Tensor | None = None
    reference: Condition | None = None


class ConditionProjector(nn.Module):
    """Projects conditions of any width to a branch's width, each by an MLP as in Wan.

    If there are several `context` conditions, each gets a learned group embedding, which tells the
    branch which condition a token belongs to. With `mask_zeros` a `context` token of zeros is
    padding: it doesn't count, whatever its mask says.
    """

    def __init__(
        self, width: int, conditions: Mapping[str, tuple[How, int]], *, mask_zeros: bool = False
    ) -> None:
        super().__init__()
        self.mask_zeros = mask_zeros
        self.ways = {name: how for name, (how, _) in conditions.items()}
        self.projections = nn.ModuleDict(
            {
                name: mlp(size, width, width)
                for name, (how, size) in conditions.items()
                if how != "clean_tokens"
            }
        )
        contexts = [name for name, how in self.ways.items() if how == "context"]
        self.groups = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(width) * 0.02)
                for name in contexts
                if len(contexts) > 1
            }
        )

    def forward(self, conditions: Conditions) -> BranchConditions:
        """Project the conditions, in the order given at construction.

        Raises KeyError for one that is missing.
        """
        context, masks, add, reference = [], [], [], None
        for name, how in self.ways.items():
            condition = conditions[name]
            if how == "clean_tokens":
                reference = condition
                continue
            tokens, mask = self._project(name, condition)
            if how == "context":
                context.append(tokens + self.groups[name] if name in self.groups else tokens)
                if self.mask_zeros:
                    mask = mask & condition.tokens.flatten(1, -2).any(-1)
                masks.append(mask)
            else:
                add.append(_masked_mean(tokens, mask))
        return BranchConditions(
            torch.cat(context, dim=1) if context else None,
            _mask_or_none(torch.cat(masks, dim=1)) if masks else None,
            torch.stack(add).sum(0) if add else None,
            reference,
        )

    def _project(self, name: str, condition: Condition) -> tuple[Tensor, Tensor]:
        """Tokens [B, L, D] and their mask [B, L]; video latents [B, T, H, W, C] are flattened."""
        tokens = self.projections[name](condition.tokens).flatten(1, -2)
        per_latent = tokens.shape[1] // condition.mask.shape[1]
        return tokens, condition.mask.repeat_interleave(per_latent, dim=1)


def _masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean [B, D] of the tokens that count; 0 if none does."""
    weight = mask[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp_min(1)


def _mask_or_none(mask: Tensor) -> Tensor | None:
    """`None` if all tokens count: attention without a mask is faster.

    It costs a synchronisation with the device, once per set of conditions: callers cache them.
    """
    return None if mask.is_meta or bool(mask.all()) else mask

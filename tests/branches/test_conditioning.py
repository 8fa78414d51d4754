"""What a branch makes of its conditions."""

from __future__ import annotations

import torch

from harmony_parts.av import Condition
from harmony_parts.branches.conditioning import ConditionProjector


def test_an_added_condition_is_the_mean_of_the_tokens_that_count() -> None:
    """Samples with three, one and no tokens; without any it adds nothing."""
    torch.manual_seed(0)
    projector = ConditionProjector(6, {"mood": ("add", 4)}).double()
    tokens = torch.randn(3, 3, 4, dtype=torch.float64)
    mask = torch.arange(3) < torch.tensor([[3], [1], [0]])
    found = projector({"mood": Condition(tokens, mask)}).add
    wide = projector.projections["mood"](tokens)
    wanted = torch.stack((wide[0].mean(0), wide[1, 0], torch.zeros(6, dtype=torch.float64)))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)


def test_zeros_are_padding_if_asked() -> None:
    """A caption's tokens of zeros, whatever its mask says; a sum of 0 isn't a token of zeros."""
    tokens = torch.tensor([[[1.0, -1.0], [0.0, 0.0], [2.0, 0.0]]])
    condition = {"sound": Condition(tokens, torch.tensor([[True, True, False]]))}
    for mask_zeros, wanted in ((True, [True, False, False]), (False, [True, True, False])):
        projector = ConditionProjector(4, {"sound": ("context", 2)}, mask_zeros=mask_zeros)
        assert projector(condition).context_mask.tolist() == [wanted]

"""The networks of a sampling run: the model's own, and those that passes name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from harmony_parts.av import AV, Condition, Conditions, drop
from harmony_parts.denoisers.known_latents import without_covered
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Denoiser
from harmony_parts.errors import PartContractError
from harmony_parts.guidance.protocol import Pass
from harmony_parts.sample.pass_graph import Supported

Words = tuple[tuple[str, str], ...]
"""`Pass.words`: (text of the prompt, what stands there instead)."""
Others = Callable[[str, Words], tuple[Denoiser, Conditions]]
"""(`Pass.model`, `Pass.words`) -> that model's denoiser, and its conditions with these words.

The model "" is the one that is sampled. It is called once for each pair of a run.
"""


class Network:
    """A denoiser and the conditions of a batch, with what it caches of them over the steps."""

    def __init__(self, denoiser: Denoiser, conditions: Conditions) -> None:
        self.denoiser, self.conditions = denoiser, conditions
        # Conditions of known latents stay in every pass. A pass without the given picture would
        # predict its latent freely, and guidance would move it away from the picture: v = v_free +
        # s (v_known - v_free) equals v_known only if s = 1.
        known = {name for name, port in denoiser.accepts.items() if port == KNOWN_LATENTS}
        self.droppable = {
            name for name, condition in conditions.items() if condition.null is not None
        } - known
        self._batches: dict[tuple[frozenset[str], ...], tuple[Conditions, dict[str, Any]]] = {}

    @property
    def supported(self) -> Supported:
        """What `checked_passes` needs: hints, and conditions that can be dropped."""
        return self.denoiser.hints, self.droppable

    def batch(self, drops: tuple[frozenset[str], ...]) -> tuple[Conditions, dict[str, Any]]:
        """The conditions of a batch of runs, concatenated on the batch axis, and their cache.

        `drops`: the conditions that each run drops.
        """
        if drops not in self._batches:
            each_run = [drop(self.conditions, names) for names in drops]
            together = {
                name: Condition(
                    concatenated([each[name].tokens for each in each_run]),
                    concatenated([each[name].mask for each in each_run]),
                )
                for name in self.conditions
            }
            self._batches[drops] = (each_run[0] if len(drops) == 1 else together), {}
        return self._batches[drops]


class Networks:
    """The network that each pass runs on. Each is made once, with the known latents `begin`."""

    def __init__(self, own: tuple[Denoiser, Conditions], others: Others | None, begin: AV[Tensor]):
        self._others, self.begin = others, begin
        self.own = self._made(*own)
        self._networks: dict[tuple[str, Words], Network] = {("", ()): self.own}

    def of(self, request: Pass) -> Network:
        """The network of a pass. Raises PartContractError if the sampler wasn't given it."""
        key = request.model, request.words
        if key not in self._networks:
            if self._others is None:
                what = f"the model {request.model!r}" if request.model else "other words"
                raise PartContractError(
                    f"the pass {request.name!r} needs {what}, and `sample` was called without"
                    " `others`, which gives the denoiser and conditions of each"
                )
            self._networks[key] = self._made(*self._others(*key))
        return self._networks[key]

    def _made(self, denoiser: Denoiser, conditions: Conditions) -> Network:
        return Network(denoiser, without_covered(conditions, denoiser.accepts, self.begin))


def concatenated(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors, one after the other on the first axis; a single one is itself."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))

"""The state of a run: everything that a step changes, and that a checkpoint stores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.optim import Optimizer

from harmony_parts.assembly.build import Parts, derived_seed
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import RunError
from harmony_parts.latents.order import Place
from harmony_parts.models.folder import saved_modules
from harmony_parts.models.lora import adaptable_modules, is_adapter
from harmony_parts.strategies.protocol import Strategy
from harmony_parts.train.ema import EMA
from harmony_parts.train.log_means import LogMeans
from harmony_parts.train.model import trained_streams
from harmony_parts.train.moments import load_moments, moments


class TrainingState:
    """Weights, their average, optimizer, place in the data, step, means for the log.

    A step is a function of this state, a batch and the recipe. Two runs with equal states and equal
    data continue bit-equal on the CPU, with the same number of threads.
    """

    def __init__(self, recipe: Recipe, parts: Parts, strategy: Strategy) -> None:
        """The state before the first step, of modules that `strategy` has prepared."""
        settings, self.strategy, self.device, self.step = recipe.train, strategy, strategy.device, 0
        self.seed = settings.seed
        self.modules = saved_modules(parts)
        everything = adaptable_modules(parts)
        self.trained = {name: p for name, p in everything.named_parameters() if p.requires_grad}
        self.optimizer = settings.optimizer.build(modules=everything)
        _split_groups(self.optimizer)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.ema = EMA(self.trained, settings.ema) if settings.ema else None
        self.read = trained_streams(recipe, parts.lengths())
        self.place = Place()
        self.means = LogMeans()

    def seed_modules(self) -> None:
        """Seed the global generators for the next step: third-party modules may draw from them."""
        use = f"train:modules:{self.step + 1}:{self.strategy.rank // self.strategy.seq}"
        torch.manual_seed(derived_seed(self.seed, use))

    def averaged_weights(self) -> dict[str, Tensor]:
        """The weights of the finished model: the average, if there is one, of trained weights."""
        state = self.modules.state_dict()
        return state if self.ema is None or not self.step else state | self.ema.average

    def averaged_adapters(self) -> dict[str, Tensor]:
        """The adapters of the finished model, if those are what is trained."""
        final = self.trained if self.ema is None else self.ema.average
        return {name: final[name].detach() for name in self.trained if is_adapter(name)}

    def _external(self) -> dict[str, Tensor]:
        """The trained adapters of modules that aren't the model's own."""
        own = self.modules.state_dict().keys()
        return {name: p.detach() for name, p in self.trained.items() if name not in own}

    def all_means(self) -> LogMeans:
        """The means over the rows of all processes."""
        own = json.dumps(self.means.state_dict())
        others = self.strategy.gather(own)[:: self.strategy.seq][1:]
        return self.means.joined(others) if others else self.means

    def like(self, name: str) -> Tensor | None:
        """The tensor as which that of a checkpoint is divided: a weight; moments as theirs."""
        return self._weights.get(name, self._weights.get(name.rpartition("/")[0]))

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        return self.modules.state_dict() | self._external()

    def state_dict(self) -> dict[str, Any]:
        """The state after a step: groups of named tensors, and values that JSON can hold.

        The tensors are those of the run, not copies. All processes call it together.
        """
        state = {
            "step": self.step,
            "weights": self.modules.state_dict() | self._external(),
            "optimizer": moments(self.optimizer, self.trained),
            "place": attrs.asdict(self.place),
            "window": self.all_means().state_dict(),
        }
        return state if self.ema is None else {**state, "ema": self.ema.average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a saved state. Raises RunError if it doesn't fit this model."""
        try:
            external = self._external()
            self.modules.load_state_dict(
                {name: x for name, x in state["weights"].items() if name not in external}
            )
            for name, adapter in external.items():
                adapter.copy_(state["weights"][name])
            load_moments(self.optimizer, self.trained, state.get("optimizer", {}))
            if self.ema is not None:
                self.ema.load(state["ema"])
            self.place = Place(**state["place"])
            if not self.strategy.rank:
                self.means = LogMeans.from_state_dict(state["window"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise RunError(
                f"the checkpoint of step {state['step']} doesn't fit this model; have its parts"
                f" changed since? {error}"
            ) from error
        self.step = state["step"]


def _split_groups(optimizer: Optimizer) -> None:
    """Parameter groups of one class each: one update can't mix divided and whole weights."""
    for group in list(optimizer.param_groups):
        by_class: dict[type, list[Tensor]] = {}
        for parameter in group["params"]:
            by_class.setdefault(type(parameter), []).append(parameter)
        if len(by_class) > 1:
            optimizer.param_groups.remove(group)
            optimizer.param_groups += [{**group, "params": some} for some in by_class.values()]

"""The state of a run: everything that a step changes, and that a checkpoint stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.build import Parts
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import RunError
from harmony_parts.latents.order import Place
from harmony_parts.models.folder import saved_modules
from harmony_parts.models.lora import adaptable_modules, is_adapter
from harmony_parts.train.ema import EMA
from harmony_parts.train.log_means import LogMeans
from harmony_parts.train.model import trained_streams
from harmony_parts.train.moments import load_moments, moments


class TrainingState:
    """Weights, their average, optimizer, generators, place in the data, step, means for the log.

    A step is a function of this state, a batch and the recipe. Two runs with equal states and equal
    data continue bit-equal on the CPU, with the same number of threads.
    """

    def __init__(self, recipe: Recipe, parts: Parts, *, device: torch.device) -> None:
        """The state before the first step."""
        settings, self.device, self.step = recipe.train, device, 0
        self.modules = saved_modules(parts)
        everything = adaptable_modules(parts)
        self.trained = {name: p for name, p in everything.named_parameters() if p.requires_grad}
        self.strategy = settings.strategy.build(device=device)
        self.optimizer = settings.optimizer.build(modules=everything)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.ema = EMA(self.trained, settings.ema) if settings.ema else None
        self.read = trained_streams(recipe, parts.lengths())
        self.place = Place()
        self.means = LogMeans()

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

    def random_state(self) -> dict[str, Tensor]:
        """The states of the global generators, from which third-party modules may draw."""
        tensors = {"modules": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["modules_cuda"] = torch.cuda.get_rng_state(self.device)
        return tensors

    def set_random_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `random_state` returned."""
        torch.set_rng_state(tensors["modules"])
        if self.device.type == "cuda" and "modules_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["modules_cuda"], self.device)

    def state_dict(self) -> dict[str, Any]:
        """The state after a step: groups of named tensors, and values that JSON can hold.

        The tensors are those of the run, not copies.
        """
        state = {
            "step": self.step,
            "weights": self.modules.state_dict() | self._external(),
            "optimizer": moments(self.optimizer, self.trained),
            "random": self.random_state(),
            "place": attrs.asdict(self.place),
            "window": self.means.state_dict(),
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
            load_moments(self.optimizer, self.trained, state["optimizer"])
            if self.ema is not None:
                self.ema.load(state["ema"])
            self.set_random_state(state["random"])
            self.place = Place(**state["place"])
            self.means = LogMeans.from_state_dict(state["window"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise RunError(
                f"the checkpoint of step {state['step']} doesn't fit this model; have its parts"
                f" changed since? {error}"
            ) from error
        self.step = state["step"]

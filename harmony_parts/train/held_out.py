"""The loss of clips that aren't trained on."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import torch

from harmony_parts.assembly.build import Parts, derived_seed
from harmony_parts.assembly.recipe import Recipe
from harmony_parts.errors import AssemblyError, MediaError, RunError
from harmony_parts.latents.order import Draw
from harmony_parts.latents.prepare import choose_examples
from harmony_parts.train.data import encode_chosen
from harmony_parts.train.log import Log
from harmony_parts.train.log_means import LogMeans, means_of
from harmony_parts.train.preview import averaged
from harmony_parts.train.state import TrainingState
from harmony_parts.train.step import draw_losses


class HeldOutLoss:
    """Measures a run's loss on its held-out clips, which are encoded once.

    Each measurement draws the same tasks, times and noise, so two of them differ by the weights
    alone. No condition is dropped.
    """

    def __init__(self, recipe: Recipe, parts: Parts, device: torch.device, log: Log) -> None:
        """Raises RunError if the data set is empty or can't be read, or a clip isn't in the
        model's format.
        """
        assert recipe.train.held_out is not None
        self.recipe, self.spec = recipe, recipe.train.held_out
        folder = None if self.spec.folder is None else Path(self.spec.folder)
        try:
            data = self.spec.data.build(format=parts.format, root=folder)
        except (AssemblyError, MediaError) as error:
            raise RunError(
                "$.train.held_out: its clips are read from $.train.held_out.folder"
                f" ({folder or 'not set'}), never from that of --data: {error}"
            ) from error
        if not len(data):
            raise RunError("$.train.held_out.data: the data set is empty: name clips to hold out")
        seed = derived_seed(recipe.train.seed, "train:held-out")
        generator = torch.Generator().manual_seed(seed)
        chosen = choose_examples(len(data), min(self.spec.clips, len(data)), generator)
        self.clips = encode_chosen(parts, data, chosen, generator, device, log)

    @torch.no_grad()
    def measure(self, state: TrainingState) -> dict[str, float]:
        """Mean error by "task.stream", with the averaged weights."""
        means, strategy = LogMeans(), state.strategy
        groups = strategy.ranks // strategy.seq
        size = self.recipe.train.batch // groups
        with averaged(state):
            for first in range(0, len(self.clips), size * groups):
                begin = first + size * (strategy.rank // strategy.seq)
                numbers = range(begin, min(begin + size, len(self.clips)))
                # A process without a clip of its own computes one all the same: those that share
                # weights run in step.
                fetched = self.clips.fetch([Draw(number, 0) for number in numbers or range(1)])
                batch = attrs.evolve(self.clips.batch(fetched), first=begin)
                # step 0 is no step of training
                drawn = draw_losses(state, batch, self.recipe, 0, {})
                entries = drawn.losses.entries
                if numbers:
                    means.add_entries(drawn.plan, {s: entries[s].tolist() for s in entries})
        others = strategy.gather(json.dumps(means.state_dict()))[:: strategy.seq][1:]
        return means_of(means.joined(others).sums if others else means.sums)

"""The state of a codec's training: everything that a step changes, and that a checkpoint stores."""

from __future__ import annotations

import math
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.assembly.build import derived_seed
from harmony_parts.errors import RunError

WARMUP, DECAY = 60, 0.5  # steps; share of the steps in which the rate falls to 0
MAX_NORM = 1.0  # of the gradient
SLOW = 0.1  # share of the learning rate for what begins where it should stay


@attrs.frozen
class CodecTraining:
    """How a codec's weights are trained: Muon for the convolutions, AdamW for the rest."""

    steps: int = attrs.field(default=6000, validator=attrs.validators.ge(1))
    batch: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    learning_rate: float = attrs.field(default=1e-3, validator=attrs.validators.gt(0))
    examples: int = attrs.field(default=2048, validator=attrs.validators.ge(1))
    decoder_only: bool = False
    checkpoint_every: int = attrs.field(default=500, validator=attrs.validators.ge(1))
    log_every: int = attrs.field(default=50, validator=attrs.validators.ge(1))


class CodecState:
    """Everything that a step changes, and that a checkpoint stores."""

    def __init__(self, network: Any, settings: CodecTraining, seed: int) -> None:
        self.network, self.settings, self.seed, self.step = network, settings, seed, 0
        network.train()
        if settings.decoder_only:
            network.encoder.requires_grad_(False)
        self.trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
        # Muon is for matrices inside a network; a convolution is one of [outputs, inputs * 3 * 3]
        # (Jordan 2024, github.com/KellerJordan/Muon)
        self.matrices = {
            name: nn.Parameter(p.detach().view(len(p), -1))  # of the same memory
            for name, p in self.trained.items()
            if p.ndim > 2 and not name.startswith(network.ends)
        }
        others = {n: p for n, p in self.trained.items() if n not in self.matrices}
        slow = [p for name, p in others.items() if name.startswith(network.slow)]
        rest = [p for name, p in others.items() if not name.startswith(network.slow)]
        self.optimizers = (
            torch.optim.Muon(
                self.matrices.values(), 1.0, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(rest, 1.0, betas=(0.9, 0.99), weight_decay=0.0),
            torch.optim.AdamW(slow, 1.0, betas=(0.9, 0.99), weight_decay=0.0),
        )

    def learning_rate(self) -> float:
        """That of this step: a linear rise, a constant, and a half cosine to 0."""
        last = DECAY * self.settings.steps
        done = max(0.0, (self.step - self.settings.steps + last) / last)
        rise = min(1.0, self.step / WARMUP)
        return self.settings.learning_rate * rise * (1 + math.cos(math.pi * done)) / 2

    def advance(self, pieces: list[Tensor]) -> tuple[float, float, float]:
        """One step on random pieces; returns loss, mean squared error and the gradient's norm."""
        self.step += 1
        generator = torch.Generator().manual_seed(derived_seed(self.seed, f"codec:{self.step}"))
        device = next(iter(self.trained.values())).device
        batch = draw_pieces(pieces, self.settings.batch, self.network.length, generator).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            loss, error = self.network.loss(batch, generator)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.trained.values(), MAX_NORM)
        for name, matrix in self.matrices.items():
            gradient = self.trained[name].grad
            matrix.grad = None if gradient is None else gradient.reshape(matrix.shape)
        for optimizer, factor in zip(self.optimizers, (1, 1, SLOW), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * self.learning_rate()
            optimizer.step()
        if not math.isfinite(loss.item()):
            raise RunError(f"the loss isn't finite at step {self.step}: lower the learning rate")
        return loss.item(), error.item(), norm.item()

    def state_dict(self) -> dict[str, Any]:
        """Groups of named tensors, and the step."""
        moments = {
            f"{number}/{index}/{key}": value
            for number, optimizer in enumerate(self.optimizers)
            for index, values in optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }
        weights = self.network.state_dict()
        return {"step": self.step, "weights": weights, "optimizer": moments}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned."""
        self.network.load_state_dict(state["weights"])
        for number, optimizer in enumerate(self.optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in state["optimizer"].items():
                which, index, key = name.split("/")
                if int(which) == number:
                    moments.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.step = state["step"]


def draw_pieces(media: list[Tensor], batch: int, length: int, generator: torch.Generator) -> Tensor:
    """Random pieces of `length` frames or samples of random examples: [batch, ...]."""
    pieces = []
    for index in torch.randint(len(media), (batch,), generator=generator).tolist():
        longest = media[index].shape[0] - length
        at = int(torch.randint(longest + 1, (), generator=generator))
        pieces.append(media[index][at : at + length])
    return torch.stack(pieces)

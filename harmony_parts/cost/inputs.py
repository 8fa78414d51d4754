"""Inputs of a denoiser for one clip: on the meta device, or random numbers of those shapes."""

from __future__ import annotations

import warnings

import attrs
import torch
from torch import Tensor

from harmony_parts.assembly.build import Parts
from harmony_parts.av import AV, Condition, Prompt, Times
from harmony_parts.codecs.protocol import grid_of

LONG_TEXT = "x" * 4096  # longer than any encoder's limit: each truncates it


@attrs.frozen(eq=False)
class Inputs:
    """Arguments of a denoiser."""

    av: AV[Tensor]
    times: AV[Times]
    conditions: dict[str, Condition]

    def random(self, device: torch.device | str, generator: torch.Generator) -> Inputs:
        """Normal numbers of these shapes on `device`.

        Masks are all True, times 0.5; conditions have no null form.
        """

        def drawn(x: Tensor) -> Tensor:
            return torch.randn(x.shape, generator=generator).to(device)

        def times(x: Tensor) -> Times:
            return Times.uniform(torch.full((len(x),), 0.5, device=device), x.shape[1])

        conditions = {
            name: Condition(
                drawn(c.tokens), torch.ones(c.mask.shape, dtype=torch.bool, device=device)
            )
            for name, c in self.conditions.items()
        }
        return Inputs(self.av.map(drawn), self.av.map(times), conditions)


@torch.no_grad()
def inputs(parts: Parts) -> Inputs:
    """Inputs of one clip of the format's length on the meta device.

    The prompt has the longest texts that the encoders read, an image, and a voice as long as the
    clip. The encoders run on it, so they must support the device of their weights, meta included.
    """
    form = parts.format
    image = torch.zeros(form.height, form.width, 3, dtype=torch.uint8)
    voice = torch.zeros(form.channels, form.samples(form.frames))
    prompt = Prompt(LONG_TEXT, LONG_TEXT, LONG_TEXT, image, voice)
    conditions: dict[str, Condition] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about truncated texts
        for encoder in parts.encoders.values():
            conditions |= encoder([prompt])
    grids: AV[tuple[int, ...]] = parts.codecs.map(grid_of)
    av: AV[Tensor] = parts.lengths().map(
        lambda t, grid, codec: torch.zeros(1, t, *grid, codec.channels, device="meta"),
        grids,
        parts.codecs,
    )
    times = av.map(lambda x: Times.uniform(torch.ones(1, device="meta"), x.shape[1]))
    return Inputs(
        av,
        times,
        {name: Condition(c.tokens.to("meta"), c.mask.to("meta")) for name, c in conditions.items()},
    )

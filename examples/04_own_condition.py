"""A condition of one's own: the times at which something is to happen, as a third party would add
them, without touching the library.

Three pieces: an encoder that reads `Prompt.extra["strikes"]` and says it under a new name, a port
where the denoiser takes it in, and data that holds it. Declared by hooks like any plugin's parts,
they can be named in recipes and are written into the run's.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import attrs
import torch

import harmony_parts as hp
from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.data.protocol import DataSpec
from harmony_parts.denoisers.protocol import Port
from harmony_parts.plugin import hookimpl, knob, part
from harmony_parts.testing.contracts.encoders import check_encoder
from harmony_parts.train.loop import train

OUT = Path("out/examples/04")
STEPS = 15


# --8<-- [start:encoder]
@attrs.frozen
class Strikes:
    """Prompt.extra["strikes"], times in seconds -> condition "strikes", tokens [B, L, width], one
    for each time.
    """

    width: int = knob(32, help="width of its tokens", validator=attrs.validators.ge(2))

    def build(self, *, format, codecs):
        """The encoder."""
        return StrikesEncoder(self.width, format.seconds)


class StrikesEncoder(torch.nn.Module):
    """See `Strikes`. Without any times: one learnt token, which is also the null form."""

    def __init__(self, width, seconds):
        super().__init__()
        self.produces, self.seconds = {"strikes": width}, seconds
        self.none = torch.nn.Parameter(torch.zeros(width))
        self.project = torch.nn.Linear(16, width)

    def forward(self, prompts):
        """{"strikes": tokens [B, L, width], mask [B, L]}, L the longest list of the batch."""
        # that of the weights: a mask made elsewhere stops a model on a GPU
        device = self.none.device
        times = [
            torch.tensor(
                sorted(prompt.extra.get("strikes", ())), dtype=torch.float32, device=device
            )
            for prompt in prompts
        ]
        longest = max([1, *map(len, times)])
        null = self.none.expand(len(prompts), longest, -1)
        null_mask = (torch.arange(longest, device=device) == 0).expand(len(prompts), -1)
        tokens, mask = [], []
        for own, nothing, first in zip(times, null, null_mask):
            angles = own[:, None] / self.seconds * torch.pi * 2.0 ** torch.arange(8, device=device)
            said = self.project(torch.cat([angles.sin(), angles.cos()], dim=1))
            tokens.append(torch.cat([said, nothing[len(own) :]]) if len(own) else nothing)
            mask.append(torch.arange(longest, device=device) < len(own) if len(own) else first)
        return {
            "strikes": hp.Condition(
                torch.stack(tokens), torch.stack(mask), hp.Condition(null, null_mask)
            )
        }


# --8<-- [end:encoder]


# --8<-- [start:data]
@attrs.frozen
class Told:
    """A data set whose events are told: those that `inner` knows become
    `Prompt.extra["strikes"]`.
    """

    inner: DataSpec = knob(help="a data set that knows its events")

    def build(self, *, format, root=None):
        """The data set."""
        return ToldSet(self.inner.build(format=format, root=root))


@attrs.frozen
class ToldSet:
    """See `Told`."""

    inner: object

    def __len__(self):
        return len(self.inner)

    def example(self, index, generator):
        """The example, its events in the prompt."""
        example = self.inner.example(index, generator)
        strikes = tuple(event.time for event in example.events or ())
        return attrs.evolve(
            example, prompt=attrs.evolve(example.prompt, extra={"strikes": strikes})
        )


# --8<-- [end:data]


# --8<-- [start:hooks]
@hookimpl
def harmony_encoder():
    """In a package of its own, the target is "package.module:Class"."""
    yield part("strikes", f"{__name__}:Strikes", summary="Times at which something is to happen.")


@hookimpl
def harmony_data():
    """The same for data."""
    yield part(
        "told", f"{__name__}:Told", summary="Another data set, with its events in the prompt."
    )


# --8<-- [end:hooks]


def main() -> None:
    """Check, assemble, train for a moment, generate."""
    # what an entry point does for a package that is installed
    catalogue().add("strikes", sys.modules[__name__])
    recipe = hp.read_recipe(
        "demo", [f"train.steps={STEPS}", "train.prepared=32", "train.log_every=5"]
    )
    recipe = attrs.evolve(
        recipe,
        encoders={"caption": recipe.encoders["caption"], "strikes": Strikes()},
        data=Told(recipe.data),
        # Times steer the video here; `Port("audio", "context")` would steer the sound.
        denoiser=attrs.evolve(recipe.denoiser, ports={"strikes": Port("video", "context")}),
        train=attrs.evolve(recipe.train, drop={"caption": 0.1, "strikes": 0.1}),
    )
    pipeline = hp.Pipeline.assemble(recipe)
    prompts = [hp.Prompt(extra={"strikes": (0.5, 1.25)}), hp.Prompt()]
    said = pipeline.conditions(prompts)["strikes"]
    print(f"tokens {list(said.tokens.shape)}, counting {said.mask.sum(1).tolist()}")
    check_encoder(Strikes(), format=recipe.format, codecs=pipeline.codecs, prompts=prompts)

    shutil.rmtree(OUT, ignore_errors=True)
    model = train(recipe, out=OUT / "run", device="cpu")
    clip = hp.load(model).generate(
        "a red ball bounces on the ground", extra={"strikes": (0.5, 1.25)}, steps=6
    )
    print(clip.save(OUT / "strikes.mp4"))
    print(
        next(
            line
            for line in (model / "recipe.toml").read_text().splitlines()
            if "strikes/strikes" in line
        )
    )


if __name__ == "__main__":
    main()

"""A new condition, the times of events, added as a plugin would, without changing the library.

Three pieces: an encoder that turns `Prompt.extra["strikes"]` into a condition, a port where it
enters the denoiser, and data that contains it. Hooks declare them like any plugin's parts, so
recipes can name them, as the recipe of this run does.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import torch

import harmony_parts as hp
from harmony_parts.assembly.catalogue import catalogue
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.data.protocol import Dataset, DataSpec, Example
from harmony_parts.denoisers.protocol import Port
from harmony_parts.plugin import PartDeclaration, hookimpl, knob, part
from harmony_parts.testing.contracts.encoders import check_encoder
from harmony_parts.train.loop import train

OUT = Path("out/examples/04")
STEPS = 15


# --8<-- [start:encoder]
@attrs.frozen
class Strikes:
    """Prompt.extra["strikes"] (seconds) to condition "strikes": a token [width] per time."""

    width: int = knob(32, help="width of its tokens", validator=attrs.validators.ge(2))

    def build(self, *, format: hp.Format, codecs: hp.AV[VideoCodec | AudioCodec]) -> StrikesEncoder:
        """The encoder."""
        return StrikesEncoder(self.width, format.seconds)


class StrikesEncoder(torch.nn.Module):
    """The encoder of `Strikes`; without times it gives one learnt token, also the null form."""

    produces: Mapping[str, int]

    def __init__(self, width: int, seconds: float) -> None:
        super().__init__()
        self.produces, self.seconds = {"strikes": width}, seconds
        self.none = torch.nn.Parameter(torch.zeros(width))
        self.project = torch.nn.Linear(16, width)

    def forward(self, prompts: Sequence[hp.Prompt]) -> dict[str, hp.Condition]:
        """{"strikes": tokens [B, L, width], mask [B, L]}; L is the longest list in the batch."""
        # the device of the weights: a model on a GPU fails with a mask on the CPU
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
            encoded = self.project(torch.cat([angles.sin(), angles.cos()], dim=1))
            tokens.append(torch.cat([encoded, nothing[len(own) :]]) if len(own) else nothing)
            mask.append(torch.arange(longest, device=device) < len(own) if len(own) else first)
        return {
            "strikes": hp.Condition(
                torch.stack(tokens), torch.stack(mask), hp.Condition(null, null_mask)
            )
        }


# --8<-- [end:encoder]


# --8<-- [start:data]
@attrs.frozen
class WithEvents:
    """A data set that copies the events of another one to `Prompt.extra["strikes"]`."""

    inner: DataSpec = knob(help="a data set with events")

    def build(self, *, format: hp.Format, root: Path | None = None) -> DatasetWithEvents:
        """The data set."""
        return DatasetWithEvents(self.inner.build(format=format, root=root))


@attrs.frozen
class DatasetWithEvents:
    """The data set of `WithEvents`."""

    inner: Dataset

    def __len__(self) -> int:
        return len(self.inner)

    def example(self, index: int, generator: torch.Generator) -> Example:
        """An example of the inner data set, with its events in the prompt."""
        example = self.inner.example(index, generator)
        strikes = tuple(event.time for event in example.events or ())
        return attrs.evolve(
            example, prompt=attrs.evolve(example.prompt, extra={"strikes": strikes})
        )


# --8<-- [end:data]


# --8<-- [start:hooks]
@hookimpl
def harmony_encoder() -> Iterator[PartDeclaration]:
    """Declare the encoder; in a package, the target is "package.module:Class"."""
    yield part("strikes", f"{__name__}:Strikes", summary="Times of events.")


@hookimpl
def harmony_data() -> Iterator[PartDeclaration]:
    """Declare the data set."""
    yield part(
        "with-events",
        f"{__name__}:WithEvents",
        summary="Another data set, with its events in the prompt.",
    )


# --8<-- [end:hooks]


def main() -> None:
    """Check the encoder, assemble a pipeline, train briefly, and generate a clip."""
    # an installed package has an entry point that does this
    catalogue().add("strikes", sys.modules[__name__])
    recipe = hp.read_recipe(
        "demo", [f"train.steps={STEPS}", "train.prepared=32", "train.log_every=5"]
    )
    denoiser = recipe.denoiser
    assert isinstance(denoiser, hp.DualBranch)
    recipe = attrs.evolve(
        recipe,
        encoders={"caption": recipe.encoders["caption"], "strikes": Strikes()},
        data=WithEvents(recipe.data),
        # the times condition the video; `Port("audio", "context")` would condition the audio
        denoiser=attrs.evolve(denoiser, ports={"strikes": Port("video", "context")}),
        train=attrs.evolve(recipe.train, drop={"caption": 0.1, "strikes": 0.1}),
    )
    pipeline = hp.Pipeline.assemble(recipe)
    prompts = [hp.Prompt(extra={"strikes": (0.5, 1.25)}), hp.Prompt()]
    condition = pipeline.conditions(prompts)["strikes"]
    print(f"tokens {list(condition.tokens.shape)}, of these valid {condition.mask.sum(1).tolist()}")
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

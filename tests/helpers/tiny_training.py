"""A model of real parts that trains in seconds: 1 s of 16 x 16 pixels, two branches of width 32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import torch

from harmony_parts.assembly.recipe import Codecs, Flow, Recipe, Sampling, Training
from harmony_parts.av import Format
from harmony_parts.branches.mmdit import MMDiT
from harmony_parts.branches.video_transformer import VideoTransformer
from harmony_parts.codecs.dct import DCTVideo
from harmony_parts.codecs.logmel import LogMel
from harmony_parts.data.soundstage import Soundstage
from harmony_parts.denoisers.dual_branch import DualBranch
from harmony_parts.encoders.byte_text import ByteText
from harmony_parts.encoders.reference_audio import ReferenceAudio
from harmony_parts.encoders.reference_image import ReferenceImage
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.flow.uniform import Uniform
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.optimizers.adamw import AdamW
from harmony_parts.schedules.constant import Constant
from harmony_parts.tasks.weighted_sum import WeightedSum
from harmony_parts.train.data import TrainingData, open_data
from harmony_parts.train.log import Log
from harmony_parts.train.model import build_model
from harmony_parts.train.state import TrainingState


def recipe(width: int = 32, layers: int = 1, **train: Any) -> Recipe:
    """The recipe, with `train` as settings of its training.

    `learning_rate` and `warmup` are those of its optimizer and its schedule.
    """
    settings = {
        "steps": 6,
        "batch": 3,
        "optimizer": AdamW(learning_rate=train.pop("learning_rate", 1e-3)),
        "schedule": Constant(warmup=train.pop("warmup", 2)),
        "prepared": 8,
        "checkpoint_every": 0,
        "log_every": 1,
        "ema": 0.9,
        "drop": {"caption": 0.5},
    }
    branch = {"width": width, "heads": 2, "feed": 2 * width}
    return Recipe(
        name="tiny",
        summary="A model for tests.",
        format=Format(fps=8, height=16, width=16, sample_rate=4000, seconds=1.0),
        codecs=Codecs(
            video=DCTVideo(frames_per_latent=2, keep=8),
            audio=LogMel(latents_per_second=16, hops_per_latent=1, bands=8),
        ),
        encoders={
            "caption": ByteText(field="caption", width=16, heads=2, length=32),
            "sound": ByteText(field="sound", width=16, heads=2, length=32),
            "image": ReferenceImage(),
            "voice": ReferenceAudio(seconds_max=0.25),
        },
        denoiser=DualBranch(
            layers=layers, video=VideoTransformer(patch=1, **branch), audio=MMDiT(**branch)
        ),
        flow=Flow(path=StraightPath(), density=Uniform(), shift=ConstantShift(3.0)),
        task=WeightedSum(),
        data=Soundstage(size=64),
        train=Training(**(settings | train)),
        sample=Sampling(guidance=NoGuidance(), solver=Euler(), shift=ConstantShift(3.0), steps=4),
    )


def but(recipe: Recipe, **train: Any) -> Recipe:
    """The recipe with some settings of its training replaced."""
    return attrs.evolve(recipe, train=attrs.evolve(recipe.train, **train))


def begin(
    recipe: Recipe, out: Path, root: Path | None = None, device: str = "cpu"
) -> tuple[TrainingState, TrainingData]:
    """The state of a run before its first step, and its data, without the loop."""
    place = torch.device(device)
    out.mkdir(exist_ok=True)
    parts, _ = build_model(recipe, place)
    with Log(out, step=0, steps=1, progress=False) as log:
        strategy = recipe.train.strategy.build(device=place)
        data = open_data(recipe, parts, root, strategy, log)
    return TrainingState(recipe, parts, strategy), data

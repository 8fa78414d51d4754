"""What a recipe holds: the settings of a whole model, its training and its sampling. Plain values
and specs; nothing is built here.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
from attrs.validators import and_, deep_mapping, ge, gt, instance_of, le, lt
from torch import nn

from harmony_parts.av import Format
from harmony_parts.codecs.protocol import AudioCodecSpec, VideoCodecSpec
from harmony_parts.data.protocol import DataSpec
from harmony_parts.denoisers.protocol import DenoiserSpec
from harmony_parts.encoders.protocol import EncoderSpec
from harmony_parts.errors import AssemblyError
from harmony_parts.flow.protocol import Density, Path, Shift, Solver
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.metrics.protocol import MetricSpec
from harmony_parts.plugin import knob
from harmony_parts.tasks.protocol import Task

PAPER = "arXiv:2511.21579"
NAME = re.compile("[A-Za-z_][A-Za-z0-9_-]*")


@attrs.frozen
class Codecs:
    """What turns clips into latents and back. A model of one stream has one of them."""

    video: VideoCodecSpec | None = knob(
        None, help="frames to latents and back; none: a model of sound alone"
    )
    audio: AudioCodecSpec | None = knob(
        None, help="sound to latents and back; none: a model of video alone"
    )

    def __attrs_post_init__(self) -> None:
        if self.video is None and self.audio is None:
            raise ValueError("at least one codec is needed: video or audio")


@attrs.frozen
class Flow:
    """What the model is trained to follow, and at which times."""

    path: Path = knob(help="from data to noise")
    density: Density = knob(help="how often each time is trained, before the shift")
    shift: Shift = knob(help="moves the training times towards noise or data", source=f"{PAPER}: 5")


@attrs.frozen
class Training:
    """How the weights are learnt (AdamW)."""

    steps: int = knob(
        2000,
        help="optimizer steps",
        unit="steps",
        source=f"{PAPER}: 10,000 in the joint stage",
        validator=ge(0),
    )
    batch: int = knob(
        16,
        help="clips in a step, before a task multiplies them",
        unit="clips",
        source=f"{PAPER}: 128",
        validator=ge(1),
    )
    learning_rate: float = knob(
        1e-3,
        help="of AdamW, constant after the warm-up",
        source=f"{PAPER}: 1e-5 (from pre-trained weights)",
        validator=gt(0),
    )
    warmup: int = knob(
        100,
        help="steps over which the learning rate rises from 0",
        unit="steps",
        off=0,
        validator=ge(0),
    )
    clip: float = knob(
        1.0,
        help="greatest norm of the gradient; longer ones are shortened to it",
        off=0.0,
        validator=ge(0),
    )
    ema: float = knob(
        0.0,
        help="decay per step of the averaged weights, which are the ones that are saved for use",
        off=0.0,
        validator=and_(ge(0), lt(1)),
    )
    weight_decay: float = knob(0.0, help="of AdamW", off=0.0, validator=ge(0))
    drop: dict[str, float] = knob(
        attrs.Factory(dict),
        help=(
            "condition -> probability that a clip is trained with its null form, as guidance by"
            " conditions needs"
        ),
        off={},
        validator=deep_mapping(instance_of(str), and_(ge(0), le(1)), instance_of(dict)),
    )
    seed: int = knob(
        0, help="of the weights and of everything that is drawn in training", validator=ge(0)
    )
    checkpoint_every: int = knob(
        500,
        help="steps between checkpoints; the last step always makes one",
        unit="steps",
        off=0,
        validator=ge(0),
    )
    log_every: int = knob(10, help="steps between lines of the log", unit="steps", validator=ge(1))
    prepared: int = knob(
        512,
        help=(
            "how many examples are encoded before training and held in memory; with 0 each is made"
            " anew when its turn comes"
        ),
        unit="examples",
        off=0,
        validator=ge(0),
    )


@attrs.frozen
class Sampling:
    """How clips are made, unless a request says otherwise."""

    guidance: Guidance = knob(
        help="which passes a step needs, and how they combine",
        source=f"{PAPER}: SyncCFG, 3 for video and 2 for audio",
    )
    solver: Solver = knob(help="how a step is taken")
    shift: Shift = knob(help="moves the sampling times towards noise or data", source=f"{PAPER}: 5")
    steps: int = knob(
        40, help="steps from noise to data", unit="steps", source=PAPER, validator=ge(1)
    )


def _can_name_modules(
    recipe: object, attribute: attrs.Attribute[Any], encoders: dict[str, EncoderSpec]
) -> None:
    """Encoders are held, and their weights saved, under their names in a ModuleDict: a name can be
    neither a path nor one of its own.
    """
    taken, faults = nn.ModuleDict(), []
    for name in encoders:
        if not NAME.fullmatch(name):
            faults.append(
                f'$."{name}": an encoder\'s name is made of letters, digits, _ and -, and begins'
                " with a letter or _; rename it"
            )
        elif hasattr(taken, name):
            faults.append(
                f"$.{name}: an encoder can't have this name, which torch.nn.ModuleDict uses itself;"
                f" rename it: {name}_encoder"
            )
    if faults:
        raise AssemblyError(faults, attribute.name)


@attrs.frozen
class Recipe:
    """All settings of a model. Its TOML form has the same names:
    `harmony_parts.assembly.read.read_recipe`, `write_recipe`.
    """

    name: str = knob(help="what the model is called")
    summary: str = knob(help="one sentence about it")
    format: Format = knob(help="the form in which the model sees clips")
    codecs: Codecs = knob(help="clips to latents and back")
    encoders: dict[str, EncoderSpec] = knob(
        help="what a user may ask for; the names are yours", validator=_can_name_modules
    )
    denoiser: DenoiserSpec = knob(help="the network")
    flow: Flow = knob(help="path and times of training")
    task: Task = knob(
        help="what is trained",
        source=f"{PAPER}: joint, audio-driven (0.1) and video-driven (0.3) together",
    )
    data: DataSpec = knob(help="what it is trained on")
    sample: Sampling = knob(help="how clips are made")
    train: Training = knob(attrs.Factory(Training), help="how it is trained")
    metrics: tuple[MetricSpec, ...] = knob(
        (), help="what its clips are measured by", converter=tuple
    )

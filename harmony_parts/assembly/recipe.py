"""The settings of a whole model, its training and its sampling: plain values and specs."""

from __future__ import annotations

import re
from typing import Any, Literal

import attrs
import torch
from attrs.validators import and_, deep_mapping, ge, in_, instance_of, le, lt
from torch import Tensor, nn

from harmony_parts.av import AV, Format
from harmony_parts.callbacks.protocol import CallbackSpec
from harmony_parts.codecs.protocol import AudioCodecSpec, VideoCodecSpec
from harmony_parts.data.protocol import DataSpec
from harmony_parts.denoisers.protocol import DenoiserSpec
from harmony_parts.encoders.protocol import EncoderSpec
from harmony_parts.errors import AssemblyError
from harmony_parts.filters.protocol import FilterSpec
from harmony_parts.flow.protocol import Density, Path, Shift, Solver
from harmony_parts.flow.stream_shifts import StreamShifts, shifts_of_streams
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.metrics.protocol import MetricSpec
from harmony_parts.optimizers.protocol import OptimizerSpec
from harmony_parts.plugin import default_part, default_parts, knob
from harmony_parts.schedules.protocol import Schedule
from harmony_parts.sources.protocol import SourceSpec
from harmony_parts.strategies.protocol import StrategySpec
from harmony_parts.tasks.protocol import Task
from harmony_parts.trainable.protocol import Trainable

PAPER = "arXiv:2511.21579"
NAME = re.compile("[A-Za-z_][A-Za-z0-9_-]*")


@attrs.frozen
class Codecs:
    """The codecs. A model of one stream has only that stream's codec."""

    video: VideoCodecSpec | None = knob(
        None, help="encodes and decodes frames; none: an audio-only model"
    )
    audio: AudioCodecSpec | None = knob(
        None, help="encodes and decodes waveforms; none: a video-only model"
    )

    def __attrs_post_init__(self) -> None:
        if self.video is None and self.audio is None:
            raise ValueError("a model needs at least one codec: video or audio")


@attrs.frozen
class Flow:
    """The path that the model is trained on, and the distribution of training times."""

    path: Path = knob(help="the path from data to noise")
    density: Density = knob(help="distribution of training times, before the shift")
    shift: Shift | StreamShifts = knob(
        help="moves the training times towards noise or data; one shift, or one for each stream",
        source=f"{PAPER}: 5",
    )

    def draw(self, n: int, generator: torch.Generator) -> AV[Tensor]:
        """Training times of each stream, float32 [n]: one draw per clip, moved by each shift.

        A shift that depends on the number of sampling steps is used unresolved.
        """
        t = self.density.draw(n, generator)
        return shifts_of_streams(self.shift).map(lambda shift: shift(t))


@attrs.frozen
class HeldOut:
    """Clips that aren't trained on. Their loss, with the same draws each time, is in the log."""

    data: DataSpec = knob(help="the data set: other clips than those of training")
    folder: str | None = knob(None, help="the folder that it reads, if it reads one")
    clips: int = knob(64, help="number of its clips", unit="clips", validator=ge(1))
    every: int = knob(
        100,
        help="steps between two measurements, a multiple of `log_every`",
        unit="steps",
        validator=ge(1),
    )


@attrs.frozen
class Training:
    """How the weights are trained."""

    steps: int = knob(
        2000,
        help="optimizer steps",
        unit="steps",
        source=f"{PAPER}: 10,000 in the joint stage",
        validator=ge(0),
    )
    batch: int = knob(
        16,
        help="clips per step, before a task makes several entries of each",
        unit="clips",
        source=f"{PAPER}: 128",
        validator=ge(1),
    )
    micro_batch: int = knob(
        0,
        help=(
            "clips whose gradients are computed at a time and added up: less memory, the same"
            " result; 0: all"
        ),
        unit="clips",
        off=0,
        validator=ge(0),
    )
    precision: Literal["float32", "tf32", "bfloat16"] = knob(
        "float32",
        help="arithmetic of matrix products; the trained weights are always float32",
        validator=in_(("float32", "tf32", "bfloat16")),
    )
    held_out: HeldOut | None = knob(
        None, help="clips that aren't trained on, whose loss is logged; none: no such loss"
    )
    optimizer: OptimizerSpec = knob(
        default_part("harmony_parts.optimizers.adamw:AdamW"),
        help="how gradients change the weights",
    )
    schedule: Schedule = knob(
        default_part("harmony_parts.schedules.constant:Constant"),
        help="how the learning rate changes in the course of the run",
    )
    trainable: Trainable = knob(
        default_part("harmony_parts.trainable.everything:Everything"),
        help="which weights are trained",
    )
    strategy: StrategySpec = knob(
        default_part("harmony_parts.strategies.single:Single"),
        help="the processes and devices that the run is computed on",
    )
    callbacks: tuple[CallbackSpec, ...] = knob(
        default_parts("harmony_parts.callbacks.log:LogFile"),
        help="what happens beside training, such as writing the log",
        converter=tuple,
    )
    clip: float = knob(
        1.0,
        help="maximum norm of the gradient; longer gradients are scaled down to it",
        off=0.0,
        validator=ge(0),
    )
    ema: float = knob(
        0.0,
        help="decay per step of the averaged weights, which are the ones saved in the model",
        off=0.0,
        validator=and_(ge(0), lt(1)),
    )
    drop: dict[str, float] = knob(
        attrs.Factory(dict),
        help=(
            "condition -> probability of training a clip with its null form; guidance that drops"
            " the condition needs it"
        ),
        off={},
        validator=deep_mapping(instance_of(str), and_(ge(0), le(1)), instance_of(dict)),
    )
    seed: int = knob(
        0, help="seed of the weights and of all random draws in training", validator=ge(0)
    )
    checkpoint_every: int = knob(
        500,
        help="steps between checkpoints; the last step always writes one",
        unit="steps",
        off=0,
        validator=ge(0),
    )
    log_every: int = knob(
        10, help="steps between two lines of the log", unit="steps", validator=ge(1)
    )
    prepared: int = knob(
        512,
        help=(
            "number of examples that are encoded before training and held in memory; with 0 each"
            " example is encoded when it is used"
        ),
        unit="examples",
        off=0,
        validator=ge(0),
    )


@attrs.frozen
class Sampling:
    """The default settings for generating clips; a request can override each of them."""

    guidance: Guidance = knob(
        help="the denoiser passes of a step, and how their predictions are combined",
        source=f"{PAPER}: SyncCFG, 3 for video and 2 for audio",
    )
    solver: Solver = knob(help="how a step is computed")
    shift: Shift | StreamShifts = knob(
        help="moves the sampling times towards noise or data; one shift, or one for each stream",
        source=f"{PAPER}: 5",
    )
    steps: int = knob(
        40, help="steps from noise to data", unit="steps", source=PAPER, validator=ge(1)
    )


def _can_name_modules(
    recipe: object, attribute: attrs.Attribute[Any], encoders: dict[str, EncoderSpec]
) -> None:
    """Refuse names that can't be keys of the ModuleDict under which encoders are saved."""
    taken, faults = nn.ModuleDict(), []
    for name in encoders:
        if not NAME.fullmatch(name):
            faults.append(
                f'$."{name}": an encoder\'s name consists of letters, digits, _ and -, and begins'
                " with a letter or _; rename it"
            )
        elif hasattr(taken, name):
            faults.append(
                f"$.{name}: an encoder can't have this name, which is an attribute of"
                f" torch.nn.ModuleDict; rename it, for example to {name}_encoder"
            )
    if faults:
        raise AssemblyError(faults, attribute.name)


@attrs.frozen
class Recipe:
    """All settings of a model. TOML recipes have the same names: `read_recipe`, `write_recipe`."""

    name: str = knob(help="name of the model")
    summary: str = knob(help="one sentence about the model")
    format: Format = knob(help="size, rates and length of the model's clips")
    codecs: Codecs = knob(help="encode clips to latents and decode them")
    encoders: dict[str, EncoderSpec] = knob(
        help="encode the fields of a prompt; choose any names", validator=_can_name_modules
    )
    denoiser: DenoiserSpec = knob(help="the network")
    flow: Flow = knob(help="path and training times")
    task: Task = knob(
        help="what each training step generates and what it is given",
        source=f"{PAPER}: joint, audio-driven (0.1) and video-driven (0.3) together",
    )
    data: DataSpec = knob(help="the recordings that training encodes, or `harmony prepare` reads")
    sample: Sampling = knob(help="how clips are generated")
    train: Training = knob(attrs.Factory(Training), help="how the model is trained")
    source: SourceSpec | None = knob(
        None, help="prepared clips to train on; none: training encodes those of `data` itself"
    )
    filters: tuple[FilterSpec, ...] = knob(
        (), help="which recordings `harmony prepare` keeps; without any, all", converter=tuple
    )
    metrics: tuple[MetricSpec, ...] = knob(
        (), help="how generated clips are measured", converter=tuple
    )


def check_recipe(recipe: object) -> None:
    """Raise AssemblyError if it is something else, such as a recipe's name."""
    if not isinstance(recipe, Recipe):
        raise AssemblyError(
            f"expected a Recipe, not {recipe!r:.80}: `harmony_parts.read_recipe` makes one of a"
            " shipped name, a file or a table"
        )

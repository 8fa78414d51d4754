"""Parts for joint audio-video diffusion: `import harmony_parts as hp`.

Importing the package is cheap: the module of each public name is imported when it is first used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

_NAMES = {
    # data that is passed between parts
    "AV": "av",
    "Times": "av",
    "Condition": "av",
    "Prompt": "av",
    "Format": "av",
    "Clip": "media.clip",
    # assembling and generating
    "load": "generate.load",
    "Pipeline": "generate.pipeline",
    "Request": "generate.request",
    "Generated": "generate.generated",
    "read_recipe": "assembly.read",
    "write_recipe": "assembly.read",
    "build": "assembly.build",
    "Parts": "assembly.build",
    "Recipe": "assembly.recipe",
    "Codecs": "assembly.recipe",
    "Flow": "assembly.recipe",
    "Training": "assembly.recipe",
    "Sampling": "assembly.recipe",
    # built-in parts
    "DCTVideo": "codecs.dct",
    "ConvVideo": "codecs.conv_video",
    "LogMel": "codecs.logmel",
    "ByteText": "encoders.byte_text",
    "Transcript": "encoders.transcript",
    "ReferenceImage": "encoders.reference_image",
    "ReferenceAudio": "encoders.reference_audio",
    "VideoTransformer": "branches.video_transformer",
    "MMDiT": "branches.mmdit",
    "CrossAudio": "branches.cross_audio",
    "DualBranch": "denoisers.dual_branch",
    "VideoOnly": "denoisers.single_branch",
    "AudioOnly": "denoisers.single_branch",
    "OwnNetwork": "denoisers.own_network",
    "GLDI": "interaction.gldi",
    "GlobalInteraction": "interaction.global_cross:Global",
    "NoInteraction": "interaction.none",
    "StyleAlignment": "style.alignment",
    "StyleTokens": "style.tokens",
    "NoStyle": "style.none",
    "StraightPath": "flow.straight",
    "ConstantShift": "flow.shift",
    "ListedTimes": "flow.listed",
    "StreamShifts": "flow.stream_shifts",
    "LogitNormal": "flow.logit_normal",
    "UniformDensity": "flow.uniform:Uniform",
    "Euler": "flow.euler",
    "Heun": "flow.heun",
    "AdamsBashforth": "flow.adams_bashforth",
    "UniPC": "flow.unipc",
    "Continuation": "tasks.continuation",
    "Joint": "tasks.joint",
    "AudioDriven": "tasks.audio_driven",
    "VideoDriven": "tasks.video_driven",
    "WeightedSum": "tasks.weighted_sum",
    "SampledTasks": "tasks.sampled:Sampled",
    "MuteAudio": "anchors.mute",
    "StaticVideo": "anchors.static",
    "NoGuidance": "guidance.none",
    "plain_way": "guidance.plain",
    "CFG": "guidance.cfg",
    "SyncCFG": "guidance.sync_cfg",
    "SumGuidance": "guidance.sum:Sum",
    "Modality": "guidance.modality",
    "SkipLayer": "guidance.skip_layer",
    "Rescale": "guidance.rescale",
    "Window": "guidance.window",
    "Schedule": "guidance.schedule",
    "DataSpace": "guidance.data_space",
    "Soundstage": "data.soundstage",
    "ClipFolder": "data.clips",
    "AmbientScene": "scenes.ambient:Ambient",
    "SpeechScene": "scenes.talk:Talk",
    "ComplexScene": "scenes.complex:Complex",
    "HardScene": "scenes.hard:Hard",
    "render": "data.rendering",
    "Events": "metrics.events",
    "Correlation": "metrics.correlation",
    "AdamW": "optimizers.adamw",
    "ConstantRate": "schedules.constant:Constant",
    "CosineRate": "schedules.cosine:Cosine",
    "TrainAll": "trainable.everything:Everything",
    "TrainBranch": "trainable.branch:Branch",
    "SingleProcess": "strategies.single:Single",
    "LogFile": "callbacks.log",
    "TensorBoard": "callbacks.tensorboard",
}
"""Public name -> its module, with `:name` if its name in that module differs."""

# The same names for editors and type checkers; a test compares the two lists.
if TYPE_CHECKING:
    from harmony_parts.anchors.mute import MuteAudio as MuteAudio
    from harmony_parts.anchors.static import StaticVideo as StaticVideo
    from harmony_parts.assembly.build import Parts as Parts
    from harmony_parts.assembly.build import build as build
    from harmony_parts.assembly.read import read_recipe as read_recipe
    from harmony_parts.assembly.read import write_recipe as write_recipe
    from harmony_parts.assembly.recipe import Codecs as Codecs
    from harmony_parts.assembly.recipe import Flow as Flow
    from harmony_parts.assembly.recipe import Recipe as Recipe
    from harmony_parts.assembly.recipe import Sampling as Sampling
    from harmony_parts.assembly.recipe import Training as Training
    from harmony_parts.av import AV as AV
    from harmony_parts.av import Condition as Condition
    from harmony_parts.av import Format as Format
    from harmony_parts.av import Prompt as Prompt
    from harmony_parts.av import Times as Times
    from harmony_parts.branches.cross_audio import CrossAudio as CrossAudio
    from harmony_parts.branches.mmdit import MMDiT as MMDiT
    from harmony_parts.branches.video_transformer import VideoTransformer as VideoTransformer
    from harmony_parts.callbacks.log import LogFile as LogFile
    from harmony_parts.callbacks.tensorboard import TensorBoard as TensorBoard
    from harmony_parts.codecs.conv_video import ConvVideo as ConvVideo
    from harmony_parts.codecs.dct import DCTVideo as DCTVideo
    from harmony_parts.codecs.logmel import LogMel as LogMel
    from harmony_parts.data.clips import ClipFolder as ClipFolder
    from harmony_parts.data.rendering import render as render
    from harmony_parts.data.soundstage import Soundstage as Soundstage
    from harmony_parts.denoisers.dual_branch import DualBranch as DualBranch
    from harmony_parts.denoisers.own_network import OwnNetwork as OwnNetwork
    from harmony_parts.denoisers.single_branch import AudioOnly as AudioOnly
    from harmony_parts.denoisers.single_branch import VideoOnly as VideoOnly
    from harmony_parts.encoders.byte_text import ByteText as ByteText
    from harmony_parts.encoders.reference_audio import ReferenceAudio as ReferenceAudio
    from harmony_parts.encoders.reference_image import ReferenceImage as ReferenceImage
    from harmony_parts.encoders.transcript import Transcript as Transcript
    from harmony_parts.flow.adams_bashforth import AdamsBashforth as AdamsBashforth
    from harmony_parts.flow.euler import Euler as Euler
    from harmony_parts.flow.heun import Heun as Heun
    from harmony_parts.flow.listed import ListedTimes as ListedTimes
    from harmony_parts.flow.logit_normal import LogitNormal as LogitNormal
    from harmony_parts.flow.shift import ConstantShift as ConstantShift
    from harmony_parts.flow.straight import StraightPath as StraightPath
    from harmony_parts.flow.stream_shifts import StreamShifts as StreamShifts
    from harmony_parts.flow.uniform import Uniform as _Uniform
    from harmony_parts.flow.unipc import UniPC as UniPC
    from harmony_parts.generate.generated import Generated as Generated
    from harmony_parts.generate.load import load as load
    from harmony_parts.generate.pipeline import Pipeline as Pipeline
    from harmony_parts.generate.request import Request as Request
    from harmony_parts.guidance.cfg import CFG as CFG
    from harmony_parts.guidance.data_space import DataSpace as DataSpace
    from harmony_parts.guidance.modality import Modality as Modality
    from harmony_parts.guidance.none import NoGuidance as NoGuidance
    from harmony_parts.guidance.plain import plain_way as plain_way
    from harmony_parts.guidance.rescale import Rescale as Rescale
    from harmony_parts.guidance.schedule import Schedule as Schedule
    from harmony_parts.guidance.skip_layer import SkipLayer as SkipLayer
    from harmony_parts.guidance.sum import Sum as _Sum
    from harmony_parts.guidance.sync_cfg import SyncCFG as SyncCFG
    from harmony_parts.guidance.window import Window as Window
    from harmony_parts.interaction.gldi import GLDI as GLDI
    from harmony_parts.interaction.global_cross import Global as _Global
    from harmony_parts.interaction.none import NoInteraction as NoInteraction
    from harmony_parts.media.clip import Clip as Clip
    from harmony_parts.metrics.correlation import Correlation as Correlation
    from harmony_parts.metrics.events import Events as Events
    from harmony_parts.optimizers.adamw import AdamW as AdamW
    from harmony_parts.scenes.ambient import Ambient as _Ambient
    from harmony_parts.scenes.complex import Complex as _Complex
    from harmony_parts.scenes.hard import Hard as _Hard
    from harmony_parts.scenes.talk import Talk as _Talk
    from harmony_parts.schedules.constant import Constant as _Constant
    from harmony_parts.schedules.cosine import Cosine as _Cosine
    from harmony_parts.strategies.single import Single as _Single
    from harmony_parts.style.alignment import StyleAlignment as StyleAlignment
    from harmony_parts.style.none import NoStyle as NoStyle
    from harmony_parts.style.tokens import StyleTokens as StyleTokens
    from harmony_parts.tasks.audio_driven import AudioDriven as AudioDriven
    from harmony_parts.tasks.continuation import Continuation as Continuation
    from harmony_parts.tasks.joint import Joint as Joint
    from harmony_parts.tasks.sampled import Sampled as _Sampled
    from harmony_parts.tasks.video_driven import VideoDriven as VideoDriven
    from harmony_parts.tasks.weighted_sum import WeightedSum as WeightedSum
    from harmony_parts.trainable.branch import Branch as _Branch
    from harmony_parts.trainable.everything import Everything as _Everything

    # strict type checkers take `import A as B` for private
    AmbientScene = _Ambient
    ComplexScene = _Complex
    ConstantRate = _Constant
    CosineRate = _Cosine
    GlobalInteraction = _Global
    HardScene = _Hard
    SampledTasks = _Sampled
    SingleProcess = _Single
    SpeechScene = _Talk
    SumGuidance = _Sum
    TrainAll = _Everything
    TrainBranch = _Branch
    UniformDensity = _Uniform


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("harmony-parts")
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _NAMES[name].partition(":")
    value = getattr(importlib.import_module(f"{__name__}.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES, "__version__"})

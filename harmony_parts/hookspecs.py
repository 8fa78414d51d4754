"""One hook per kind of part; the docstring of each is the reference of that kind. Importing this
imports no torch.

A hook returns declarations (`harmony_parts.plugin.part`), best as a generator; it takes no
arguments and imports no part. The class that a declaration points to is an attrs class of plain
settings (each best made with `harmony_parts.plugin.knob`) which keeps the protocol of its kind.
Parts that hold weights, tables or files have a method `build(...)` that returns the working part
and gets its neighbours as keywords; the others are frozen and are the working part themselves. A
setting that is a part of its own is annotated with that kind's protocol.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
import pluggy

from harmony_parts.plugin import PROJECT, PartDeclaration

hookspec = pluggy.HookspecMarker(PROJECT)


@attrs.frozen
class Kind:
    """A kind of part: its hook, the protocol ("module:Class") that its settings are annotated with,
    and the folder of the built-in ones.
    """

    hook: str
    protocol: str
    folder: str

    @property
    def builds(self) -> bool:
        """Whether a part of this kind is made by `build(...)` (True) or is its own spec (False)."""
        return self.protocol.endswith("Spec")

    def __str__(self) -> str:
        return self.hook.removeprefix("harmony_").replace("_", "-")


def _kind(name: str, folder: str, protocol: str) -> tuple[str, Kind]:
    return name, Kind(f"harmony_{name}", f"harmony_parts.{folder}.protocol:{protocol}", folder)


KINDS: dict[str, Kind] = dict(
    (
        _kind("video_codec", "codecs", "VideoCodecSpec"),
        _kind("audio_codec", "codecs", "AudioCodecSpec"),
        _kind("encoder", "encoders", "EncoderSpec"),
        _kind("video_branch", "branches", "VideoBranchSpec"),
        _kind("audio_branch", "branches", "AudioBranchSpec"),
        _kind("interaction", "interaction", "InteractionSpec"),
        _kind("attention", "attention", "LocalAttention"),
        _kind("style", "style", "StyleSpec"),
        _kind("denoiser", "denoisers", "DenoiserSpec"),
        _kind("path", "flow", "Path"),
        _kind("shift", "flow", "Shift"),
        _kind("density", "flow", "Density"),
        _kind("solver", "flow", "Solver"),
        _kind("task", "tasks", "Task"),
        _kind("anchor", "anchors", "Anchor"),
        _kind("guidance", "guidance", "Guidance"),
        _kind("data", "data", "DataSpec"),
        _kind("metric", "metrics", "MetricSpec"),
    )
)
"""Kind -> its hook, protocol and folder. Written with underscores here and in hooks, with hyphens
in documents and on the command line.
"""

Declarations = Iterable[PartDeclaration]


@hookspec
def harmony_video_codec() -> Declarations:
    """Turns frames into latents and back.

    The class has `build(*, format) -> VideoCodec`; the codec has `channels`, `grid` and the
    functions `latents`, `frames`, `encode`, `decode` and `clock`. Frames are uint8 [B, F, H, W, 3],
    latents float32 [B, T, h, w, C] of about unit scale; both directions are deterministic.
    `clock(n)` says which span of seconds each latent shows: all that keeps sound and picture
    together is made from it.

        @hookimpl
        def harmony_video_codec():
            yield part(
                "wan-vae",
                "harmony_wan.vae:WanVAE",
                summary="The causal video autoencoder of Wan2.2.",
                source="arXiv:2503.20314",
            )
    """


@hookspec
def harmony_audio_codec() -> Declarations:
    """Turns sound into latents and back.

    The class has `build(*, format) -> AudioCodec`; the codec has `channels` and the functions
    `latents`, `samples`, `encode`, `decode` and `clock`. Sound is float32 [B, samples] in -1..1
    (mono, at the format's sample rate), latents float32 [B, T, C] of about unit scale. Whatever
    `decode` makes up (phase, noise) comes from a fixed seed.

        @hookimpl
        def harmony_audio_codec():
            yield part(
                "mmaudio",
                "harmony_mmaudio.vae:MMAudio",
                summary="The autoencoder of MMAudio.",
                source="arXiv:2412.15322",
            )
    """


@hookspec
def harmony_encoder() -> Declarations:
    """Reads its own field of each prompt and says it to the denoiser as conditions.

    The class has `build(*, format, codecs) -> Encoder`, a torch module with `produces` (condition
    name -> width) that maps a sequence of prompts to a `Condition` per name, each with its null
    form; a prompt whose field is `None` gets the null form in its row. A condition of a new name is
    welcome wherever a denoiser has a port for it.

        @hookimpl
        def harmony_encoder():
            yield part(
                "umt5",
                "harmony_umt5:UMT5",
                summary="Captions by a frozen UMT5.",
                source="arXiv:2304.09151",
            )
    """


@hookspec
def harmony_video_branch() -> Declarations:
    """The video half of the denoiser: embeds latents, makes its layers, turns hidden states back
    into velocities.

    The class has `build(*, channels, grid, conditions) -> Branch`, a torch module with `width`,
    `heads`, `block()`, `project_conditions`, `embed` and `unembed`; each block has the steps
    `apply_self_attention`, `apply_text_attention` and `apply_feed_forward`. Hidden states are
    [B, T, S, D], S patches per latent.

        @hookimpl
        def harmony_video_branch():
            yield part(
                "wan",
                "harmony_wan.branch:WanBranch",
                summary="The transformer of Wan2.2-TI2V-5B.",
                source="arXiv:2503.20314",
            )
    """


@hookspec
def harmony_audio_branch() -> Declarations:
    """The audio half of the denoiser: the contract of a video branch, with one token per latent (S
    = 1).

    Clean reference latents (a condition told as `clean_tokens`) are kept in `Tokens.reference`,
    before the target.

        @hookimpl
        def harmony_audio_branch():
            yield part(
                "ovi",
                "harmony_ovi.branch:OviAudio",
                summary="The audio twin of Ovi.",
                source="arXiv:2510.01284",
            )
    """


@hookspec
def harmony_interaction() -> Declarations:
    """How the two branches hear each other, in every layer.

    The class has `build(*, branches) -> Interaction`, a torch module: `tables(layout)` is computed
    once per shape of batch; the call returns, for each stream, a residual of its hidden states, of
    its reference, or a term for its text attention. Both directions read the states from before
    either update. An interaction whose outputs start at zero lets a stitched model begin as its two
    parents.

        @hookimpl
        def harmony_interaction():
            yield part(
                "bridge",
                "harmony_bridge:Bridge",
                summary="Cross-attention in every fourth layer.",
            )
    """


@hookspec
def harmony_attention() -> Declarations:
    """A way to compute local cross-attention: each query frame attends to a window of key frames.

    Its own spec: callable with `(q, k, v, windows, q_angles, k_angles)`. Must agree with the
    built-in reference implementation, in the output and in every gradient; an empty window gives 0.

        @hookimpl
        def harmony_attention():
            yield part(
                "cute",
                "harmony_cute:Cute",
                summary="Local cross-attention in CuTe, for Hopper.",
            )
    """


@hookspec
def harmony_style() -> Declarations:
    """How the reference sound takes on the look of the whole video: everything that has nothing to
    do with time.

    The class has `build(*, branches) -> Style`, a torch module that maps reference tokens [B, R,
    D_a] and the video's hidden states [B, T, S, D_v] to a residual of the reference.

        @hookimpl
        def harmony_style():
            yield part(
                "pooled",
                "harmony_pooled:Pooled",
                summary="Reads the mean of each video latent in place of all its tokens.",
            )
    """


@hookspec
def harmony_denoiser() -> Declarations:
    """The network: noisy latents of both streams to velocities of both.

    The class has `build(*, codecs, encoders) -> Denoiser`, a torch module with `accepts` (condition
    name -> `Port`), `hints` and `blocks` (the modules that can be sharded, compiled and recomputed
    one by one). It sizes itself by its neighbours, and raises AssemblyError for a condition that it
    has no port for. Branches, interaction, style and attention are its settings, if it has such
    parts at all.

        @hookimpl
        def harmony_denoiser():
            yield part(
                "ltx2",
                "harmony_ltx2:LTX2",
                summary="LTX-2 with its weights.",
                source="arXiv:2601.03233",
            )
    """


@hookspec
def harmony_path() -> Declarations:
    """The path from data (time 0) to noise (time 1).

    Its own spec, with `interpolate`, `velocity` and `data`, which gets the clean estimate back from
    a velocity.

        @hookimpl
        def harmony_path():
            yield part(
                "trig",
                "harmony_trig:Trig",
                summary="The trigonometric path.",
                source="arXiv:2209.15571",
            )
    """


@hookspec
def harmony_shift() -> Declarations:
    """A monotone map of the times 0..1 onto themselves, which moves effort towards noise or data.

    Its own spec: callable with a tensor of times; 0 stays 0 and 1 stays 1. Where it depends on the
    sampler's steps, `for_steps(steps)` gives it for so many.

        @hookimpl
        def harmony_shift():
            yield part(
                "cosine",
                "harmony_cosine:Cosine",
                summary="Slow at both ends.",
            )
    """


@hookspec
def harmony_density() -> Declarations:
    """How often each time is trained, before the shift.

    Its own spec, with `draw(n, generator)` -> float32 [n] in 0..1.

        @hookimpl
        def harmony_density():
            yield part(
                "mode",
                "harmony_mode:Mode",
                summary="Mode sampling with heavy tails.",
                source="arXiv:2403.03206",
            )
    """


@hookspec
def harmony_solver() -> Declarations:
    """One step of a solver of the flow's ordinary differential equation.

    Its own spec, with `order` and `step(x, t, t_next, velocity, memory)`; what it must remember
    between steps goes through `memory`.

        @hookimpl
        def harmony_solver():
            yield part(
                "ab2",
                "harmony_ab2:AdamsBashforth",
                summary="Two-step Adams-Bashforth: second order, one evaluation a step.",
            )
    """


@hookspec
def harmony_task() -> Declarations:
    """What is trained: per sample, which stream is clean, each stream's time, and what each
    stream's loss counts.

    Its own spec, with `plan(n, draw, generator) -> Plan`. Tasks that combine tasks take them as
    settings.

        @hookimpl
        def harmony_task():
            yield part(
                "async",
                "harmony_async:Async",
                summary="Each stream at a time of its own.",
            )
    """


@hookspec
def harmony_anchor() -> Declarations:
    """A clean stream that says nothing about the other one; guidance puts it in a stream's place.

    Its own spec, frozen and compared by value, with `stream`, `from_estimate` and `latents(scene)`.

        @hookimpl
        def harmony_anchor():
            yield part(
                "hum",
                "harmony_hum:Hum",
                summary="A steady tone.",
            )
    """


@hookspec
def harmony_guidance() -> Declarations:
    """Which passes of the denoiser a sampling step needs, and how their predictions combine.

    Its own spec, frozen and compared by value, with `passes(times, state)` and `combine(preds,
    times, state)`. `combine` is pure; what it must remember goes through `state`. At its off value
    it asks for the conditional pass alone and returns that bit for bit. A guidance that changes
    another takes it as a setting annotated `Guidance`.

        @hookimpl
        def harmony_guidance():
            yield part(
                "half",
                "harmony_half.half:Half",
                summary="Goes half the way that its inner guidance goes.",
            )
    """


@hookspec
def harmony_data() -> Declarations:
    """A data set: examples of a clip, the prompt that asks for it, and its events where they are
    known.

    The class has `build(*, format, root=None) -> Dataset` with `len` and `example(index,
    generator)`; the same index and generator state give the same example. `root` is the folder that
    the user named, for data sets that read one.

        @hookimpl
        def harmony_data():
            yield part(
                "audiocaps",
                "harmony_audiocaps:AudioCaps",
                summary="AudioCaps from a folder of its clips.",
            )
    """


@hookspec
def harmony_metric() -> Declarations:
    """Score clips, for example how well sound and picture agree.

    The spec's `build(device=...)` returns a metric. Its `analyse(clip)` looks at each stream by
    itself, `score(video, audio, truth, reference)` at a pair of analyses, so that clips can be
    re-paired to measure chance. One that reads only one stream declares it: `reads = ("audio",)`.

        @hookimpl
        def harmony_metric():
            yield part(
                "synchformer",
                "harmony_synchformer:DeSync",
                summary="Offset by Synchformer.",
                source="arXiv:2401.16423",
            )
    """

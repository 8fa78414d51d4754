"""One hook per kind of part; its docstring is the reference of that kind. Imports no torch.

A plugin implements a hook for each kind of part that it provides. The hook takes no arguments and
yields declarations (`harmony_parts.plugin.part`); it imports no part. The class that a declaration
names is an attrs class of settings, each best made with `harmony_parts.plugin.knob`, and meets the
protocol of its kind. There are two forms:

* Parts with weights, tables or files have a method `build(...)` that returns the working part. It
  receives the parts built before it as keyword arguments.
* All other parts are frozen classes whose instances are the working part.

A setting that takes another part is annotated with the protocol of that part's kind.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from harmony_parts.plugin import PROJECT, PartDeclaration

hookspec = pluggy.HookspecMarker(PROJECT)

Declarations = Iterable[PartDeclaration]


@hookspec
def harmony_video_codec() -> Declarations:
    """Encodes frames to latents and decodes latents to frames.

    `build(*, format) -> VideoCodec`. The codec has `channels`, `grid` and the methods `latents`,
    `frames`, `encode`, `decode` and `clock`. Frames are uint8 [B, F, H, W, 3], latents float32 [B,
    T, h, w, C] of about unit variance. Encoding and decoding are deterministic. `clock(n)` gives
    the interval in seconds that each of n latents covers; attention windows and the alignment of
    video and audio are computed from it.

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
    """Encodes waveforms to latents and decodes latents to waveforms.

    `build(*, format) -> AudioCodec`. The codec has `channels` (of the latents), `sound_channels`,
    and the methods `latents`, `samples`, `encode`, `decode` and `clock`. Waveforms are float32
    [B, channels, samples] in -1..1, with the format's channels and sample rate; latents float32
    [B, T, C] of about unit variance. Left and right keep their places and levels; a codec that
    can't encode the format's channels refuses them in `build`. Phases or noise that `decode`
    generates come from a fixed seed.

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
    """Encodes one field of each prompt to conditions of the denoiser.

    `build(*, format, codecs) -> Encoder`. The encoder is a torch module with `produces` (condition
    name -> width); it maps a sequence of prompts to one `Condition` per name, with its null form.
    For a prompt whose field is `None`, the row holds the null form. An encoder may produce
    conditions with new names; the denoiser needs a port for each.

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
    """The video transformer: embeds latents, makes its blocks, projects tokens to velocities.

    `build(*, channels, grid, conditions) -> Branch`. The branch is a torch module with `width`,
    `heads`, `block()`, `project_conditions`, `embed` and `unembed`. Each block has the steps
    `apply_self_attention`, `apply_text_attention` and `apply_feed_forward`. Hidden states are [B,
    T, S, D] with S patches per latent.

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
    """The audio transformer: the protocol of a video branch, with one token per latent (S = 1).

    Clean reference latents (a condition that enters as `clean_tokens`) are held in
    `Tokens.reference` and precede the target.

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
    """Exchanges information between the two branches in every joint block.

    `build(*, branches) -> Interaction`. The interaction is a torch module. `tables(layout)` is
    computed once per shape of batch. A call returns for each stream a residual of its hidden
    states, a residual of its reference, or a term for its text attention. Both directions use the
    states from before either update. If its output projections start at zero, a model stitched
    together from two trained branches starts as those two.

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
    """A backend of local cross-attention: each query frame attends to a window of key frames.

    The instance is the part: callable with `(q, k, v, windows, q_angles, k_angles)`. Outputs and
    all gradients must agree with the built-in part `reference`. For an empty window the output is
    0.

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
    """Aligns the reference audio with the whole video, independent of time.

    `build(*, branches) -> Style`. The style is a torch module that maps reference tokens [B, R,
    D_a] and hidden states of the video [B, T, S, D_v] to a residual of the reference tokens.

        @hookimpl
        def harmony_style():
            yield part(
                "pooled",
                "harmony_pooled:Pooled",
                summary="Attends to the mean token of each video latent.",
            )
    """


@hookspec
def harmony_denoiser() -> Declarations:
    """The network: predicts the velocities of both streams from their noisy latents.

    `build(*, codecs, encoders) -> Denoiser`. The denoiser is a torch module with `accepts`
    (condition name -> `Port`), `hints`, and `blocks` (the modules that are sharded, compiled,
    recomputed and offloaded one by one). It takes its sizes from codecs and encoders, and raises
    AssemblyError if it has no port for a condition. Branches, interaction, style and attention are
    settings of a denoiser that has such parts.

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

    The instance is the part, with `interpolate`, `velocity`, and `data`, which recovers the clean
    estimate from a velocity.

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
    """A monotone map of times from 0..1 to 0..1 that moves steps towards noise or data.

    The instance is the part: callable with a tensor of times; it maps 0 to 0 and 1 to 1. If the map
    depends on the number of sampling steps, `for_steps(steps)` returns the shift for that number.

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
    """The distribution of training times, before the shift.

    The instance is the part, with `draw(n, generator)` -> float32 [n] in 0..1.

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

    The instance is the part, with `order` and `step(x, times, next_times, velocity, memory)`; each
    stream has its own times. Values that it needs in the next step go through `memory`.

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
    """What is trained: per sample, the time of each latent (0 if it is clean), the loss weights.

    The instance is the part, with `plan(n, draw, generator, latents) -> Plan`; `draw(n, generator)`
    gives shifted times of each stream. Tasks that combine other tasks take them as settings.

        @hookimpl
        def harmony_task():
            yield part(
                "async",
                "harmony_async:Async",
                summary="Draws the times of the two streams independently.",
            )
    """


@hookspec
def harmony_anchor() -> Declarations:
    """A clean stream without information about the other one; guidance substitutes it.

    The instance is the part, frozen and compared by value, with `stream`, `from_estimate` and
    `latents(scene)`.

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
    """The denoiser passes of a sampling step, and how their predictions are combined.

    The instance is the part, frozen and compared by value, with `passes(times, state)` and
    `combine(preds, times, state)`. `combine` is pure; values that it needs in the next step go
    through `state`. At its off value the guidance requests only the conditional pass and returns
    that prediction bit for bit. A guidance that modifies another one takes it as a setting
    annotated with `Guidance`.

        @hookimpl
        def harmony_guidance():
            yield part(
                "half",
                "harmony_half.half:Half",
                summary="Halves the effect of its inner guidance.",
            )
    """


@hookspec
def harmony_scene() -> Declarations:
    """A scene of Soundstage, such as a hammer that strikes an anvil.

    The instance is the part, frozen and compared by value: `draw(rng, seconds, rhythm)` gives a
    random take. A take has `events`, `caption` and `sound_caption`, draws itself on a canvas
    (`picture`), mixes its own sound (`sound`), and gives another performance of the same bodies
    (`again`). The data set `soundstage` and all its settings work with any scene.

        @hookimpl
        def harmony_scene():
            yield part(
                "kettle",
                "harmony_kettle:Kettle",
                summary="A kettle boils: steam and a whistle.",
            )
    """


@hookspec
def harmony_reference() -> Declarations:
    """Decides which piece of which recording a training clip gets as its reference audio.

    The instance is the part, frozen and compared by value, with `draw(target, recordings,
    generator)`.

        @hookimpl
        def harmony_reference():
            yield part("start", "harmony_start:Start", summary="The first second of the recording.")
    """


@hookspec
def harmony_data() -> Declarations:
    """A data set: examples of a clip, its prompt, and its events if they are known.

    `build(*, format, root=None) -> Dataset`. The data set has a length and `example(index,
    generator)`; the same index and generator state give the same example. `root` is the folder that
    the user chose, for data sets that read one.

        @hookimpl
        def harmony_data():
            yield part(
                "audiocaps",
                "harmony_audiocaps:AudioCaps",
                summary="AudioCaps from a folder of its clips.",
            )
    """


@hookspec
def harmony_source() -> Declarations:
    """Prepared clips that training reads: latents, conditions of frozen encoders, prompts.

    `build(*, root=None) -> Reader`. The reader has a length, `read(clip, round, streams)`, and
    knows beforehand what the order of batches is made from: `shapes`, `shape_of` and `groups`. It
    is sent to worker processes. A source that combines others takes them as settings.

        @hookimpl
        def harmony_source():
            yield part(
                "recent",
                "harmony_recent:Recent",
                summary="Draws clips more often the later they were recorded.",
            )
    """


@hookspec
def harmony_filter() -> Declarations:
    """Decides which examples `harmony prepare` keeps.

    `build(*, device="cpu") -> Filter`. `analyse(example)` computes what it needs of each stream by
    itself; `fault(video, audio)` gives the reason to drop a clip, or `None`, so that streams of
    different clips can be re-paired to measure chance. `reads` names the streams that it judges.

        @hookimpl
        def harmony_filter():
            yield part(
                "logo",
                "harmony_logo:Logo",
                summary="Drops clips with a logo in a corner.",
            )
    """


@hookspec
def harmony_metric() -> Declarations:
    """A score of clips, for example how well video and audio agree.

    `build(*, device="cpu") -> Metric`. `analyse(clip)` computes features of each stream by itself;
    `score(video, audio, truth, reference)` scores a pair of them, so that streams of different
    clips can be re-paired to measure chance. A metric that reads one stream declares it: `reads =
    ("audio",)`.

        @hookimpl
        def harmony_metric():
            yield part(
                "synchformer",
                "harmony_synchformer:DeSync",
                summary="Offset by Synchformer.",
                source="arXiv:2401.16423",
            )
    """


@hookspec
def harmony_optimizer() -> Declarations:
    """How the gradients of a step change the trained weights.

    `build(*, modules) -> torch.optim.Optimizer` over all parameters of `modules` that require
    gradients. Its learning rates are base rates, which the schedule multiplies. Its state is
    tensors, which checkpoints hold.

        @hookimpl
        def harmony_optimizer():
            yield part(
                "muon",
                "harmony_muon:Muon",
                summary="Muon for matrices, AdamW for the rest.",
            )
    """


@hookspec
def harmony_schedule() -> Declarations:
    """How the learning rate changes in the course of a run.

    The instance is the part, with `factor(step, steps)`: what the optimizer's rates are multiplied
    by in `step`, from 1 to `steps`. It is a pure function, so a resumed run needs no state of it.

        @hookimpl
        def harmony_schedule():
            yield part(
                "inverse-root",
                "harmony_inverse_root:InverseRoot",
                summary="Falls with the root of the step after the warm-up.",
            )
    """


@hookspec
def harmony_trainable() -> Declarations:
    """Which weights are trained: all, some, or adapters that it adds.

    The instance is the part, with `prepare(modules)`, which freezes parameters in place and may add
    new ones. The model's own weights keep their names and values, and the model computes the same
    as before.

        @hookimpl
        def harmony_trainable():
            yield part(
                "bias-only",
                "harmony_bias_only:BiasOnly",
                summary="Trains only the biases.",
            )
    """


@hookspec
def harmony_strategy() -> Declarations:
    """On which processes and devices the steps of a run are computed.

    `build(*, device) -> Strategy`: what a process knows of the others and does together with them.
    Every process runs the same loop on rows of its own of each batch.

        @hookimpl
        def harmony_strategy():
            yield part(
                "pipelined",
                "harmony_pipelined:Pipelined",
                summary="Some of the blocks on each GPU.",
            )
    """


@hookspec
def harmony_callback() -> Declarations:
    """What happens beside training, such as writing the log.

    `build(*, run) -> Callback`, with `on_step(step)`, `on_record(record)` and `close()`. `run` has
    the run's folder, its steps, its recipe, and a pipeline with the weights of the moment. A
    callback changes nothing that training depends on.

        @hookimpl
        def harmony_callback():
            yield part(
                "wandb",
                "harmony_wandb:WandB",
                summary="Sends the numbers of the log to Weights and Biases.",
            )
    """

"""The denoiser against diffusers' transformer: passes of SyncCFG, known images, hints, errors."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import ltx2_toys as toys
import pytest
import torch

from harmony_ltx2.denoiser import LTX2
from harmony_ltx2.text import LTX2Text
from harmony_ltx2.video import LTX2Video
from harmony_parts.av import AV, Condition, Times
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.sampler import sample

ROUNDING = 1e-6


@pytest.fixture(scope="module", params=toys.FORMS)
def ltx(request):
    """All forms: 2.0, and the later ones, whose inputs include sigmas and cross timesteps."""
    made = toys.parts(toys.FORMS[request.param])
    made.other = request.param != "2.0"
    return made


@pytest.fixture(scope="module")
def first():
    """A tiny LTX-2.0."""
    return toys.parts()


class Watched:
    """A denoiser that records its inputs and outputs."""

    def __init__(self, inner):
        self.inner, self.calls = inner, []
        self.accepts, self.hints, self.blocks = inner.accepts, inner.hints, inner.blocks

    def __call__(self, av, times, conditions, **settings):
        made = self.inner(av, times, conditions, **settings)
        self.calls.append((av, times, conditions, made))
        return made


GIVEN = {"joint": (), "audio-driven": ("audio",), "video-driven": ("video",)}


def by_hand(ltx, noise, given, said, guidance, steps):
    """SyncCFG by direct calls of diffusers, with Euler's steps; returns latents and the calls'
    inputs."""
    x = noise.replace(**{s: given[s] for s in given})
    asked, mute = set(), ltx.codecs.audio.encode(torch.zeros(1, 2, ltx.codecs.audio.samples(19)))
    shown = [s for s in noise if s not in tuple(given)]
    for step in range(steps):
        t, after = 1 - step / steps, 1 - (step + 1) / steps
        at = {s: 0.0 if s in tuple(given) else t for s in noise}

        def call(av, t_v, t_a):
            asked.add((round(t_v, 6), round(t_a, 6)))
            return toys.direct(ltx.model, av, said, t_v, t_a, use_cross_timestep=ltx.other)

        joint = call(x, at["video"], at["audio"])
        guided = {}
        if "video" in shown:
            negative = call(x.replace(audio=mute), at["video"], 0.0).video
            guided["video"] = negative + guidance.video * (joint.video - negative)
        if "audio" in shown:
            clean = x.video - at["video"] * joint.video if "video" in shown else x.video
            still = ltx.codecs.video.decode(clean[:, :1]).expand(-1, 17, -1, -1, -1)
            negative = call(x.replace(video=ltx.codecs.video.encode(still)), 0.0, at["audio"]).audio
            guided["audio"] = negative + guidance.audio * (joint.audio - negative)
        x = x.replace(**{s: x[s] + (after - t) * guided[s] for s in guided})
    return x, asked


@pytest.mark.parametrize("task", GIVEN)
def test_sync_cfg_calls_diffusers_for_the_passes_of_its_recipe(ltx, task):
    """Joint, video without sound, sound without motion, each at its times and sigmas; then the
    whole run."""
    noise, clean = toys.noise(), toys.noise(1)
    given, said, guidance = (
        clean.only(GIVEN[task]),
        toys.conditions(ltx.widths),
        SyncCFG(video=3, audio=2),
    )
    watched = Watched(ltx.denoiser)
    settings = {
        "guidance": guidance,
        "solver": Euler(),
        "shift": ConstantShift(1),
        "path": StraightPath(),
        "steps": 2,
    }
    made = sample(
        watched,
        noise.only([s for s in noise if s not in tuple(given)]),
        said,
        codecs=ltx.codecs,
        given=given,
        **settings,
    )
    seen = set()
    for av, times, conditions, answer in watched.calls:
        for row in range(len(av["video"])):  # a sampler may put passes together
            t_v, t_a = (float(times[s].per_latent()[row, 0]) for s in ("video", "audio"))
            alone = {
                name: condition.rows(torch.tensor([row])) for name, condition in conditions.items()
            }
            direct = toys.direct(
                ltx.model, toys.row(av, row), alone, t_v, t_a, use_cross_timestep=ltx.other
            )
            assert toys.same(toys.row(answer, row), direct.only(tuple(answer)), ROUNDING)
            seen.add((round(t_v, 6), round(t_a, 6)))
    wanted, asked = by_hand(ltx, noise, given, said, guidance, steps=2)
    assert seen == asked
    assert (
        asked
        >= {"joint": {(1, 1), (1, 0), (0, 1)}, "audio-driven": {(1, 0)}, "video-driven": {(0, 1)}}[
            task
        ]
    )
    # rounding, three times as large after guidance, can turn a byte of the still picture over
    assert toys.same(made, wanted, 1e-3)
    assert not toys.same(
        made, by_hand(ltx, noise, given, said, SyncCFG(video=2.9, audio=1.9), steps=2)[0], 1e-3
    )


def test_a_pass_equals_diffusers_bitwise(ltx):
    """At any times, with masked text tokens, for several samples at once."""
    av, said = toys.noise(batch=2), toys.conditions(ltx.widths, batch=2)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    masked = {n: Condition(c.tokens, mask) if n in ltx.widths else c for n, c in said.items()}
    for t_v, t_a in ((0.7, 0.7), (0.7, 0.0), (0.0, 0.3), (1.0, 0.5)):
        times = toys.uniform(av, video=t_v, audio=t_a)
        settings = {"use_cross_timestep": ltx.other}
        assert toys.same(
            ltx.denoiser(av, times, said), toys.direct(ltx.model, av, said, t_v, t_a, **settings)
        )
        settings |= {"encoder_attention_mask": mask, "audio_encoder_attention_mask": mask}
        assert toys.same(
            ltx.denoiser(av, times, masked),
            toys.direct(ltx.model, av, masked, t_v, t_a, **settings),
        )


def test_samples_of_a_batch_have_their_own_times(ltx):
    """The result equals that of each sample alone."""
    av, said = toys.noise(batch=2), toys.conditions(ltx.widths, batch=2)
    values = AV(torch.tensor([[0.7], [0.0]]), torch.tensor([[0.0], [0.4]]))
    times = values.map(
        lambda value, x: Times(value, torch.zeros(2, x.shape[1], dtype=torch.long)), av
    )
    both = ltx.denoiser(av, times, said)
    for row, (t_v, t_a) in enumerate(((0.7, 0.0), (0.0, 0.4))):
        alone = {name: condition.rows(torch.tensor([row])) for name, condition in said.items()}
        direct = toys.direct(
            ltx.model, toys.row(av, row), alone, t_v, t_a, use_cross_timestep=ltx.other
        )
        assert toys.same(toys.row(both, row), direct, ROUNDING)


def test_a_known_image_is_passed_as_in_diffusers(ltx):
    """Its tokens are clean at time 0, sigma is the stream's, its velocity leads to it; without an
    image nothing changes."""
    av, said = toys.noise(), toys.conditions(ltx.widths)
    known = torch.randn(1, 1, 2, 3, toys.C, generator=torch.Generator().manual_seed(5))
    shown = said | {"image": toys.picture(known, torch.ones(1, 1, dtype=torch.bool))}
    times = toys.uniform(av, video=0.6, audio=0.6)
    made = ltx.denoiser(av, times, shown)
    timestep = torch.full((1, 18), 600.0)
    timestep[:, :6] = 0
    pasted = av.replace(video=torch.cat([known, av["video"][:, 1:]], dim=1))
    direct = toys.direct(
        ltx.model, pasted, said, 0.6, 0.6, timestep=timestep, use_cross_timestep=ltx.other
    )
    assert torch.equal(made["audio"], direct["audio"])
    assert torch.equal(made["video"][:, 1:], direct["video"][:, 1:])
    assert torch.allclose(av["video"][:, :1] - 0.6 * made["video"][:, :1], known, atol=ROUNDING)
    assert not torch.equal(made["audio"], ltx.denoiser(av, times, said)["audio"])
    two = av.map(lambda x: x.expand(2, *x.shape[1:]))
    half = {n: c.rows(torch.tensor([0, 0])) for n, c in said.items()}
    half["image"] = toys.picture(known.expand(2, -1, -1, -1, -1), torch.tensor([[True], [False]]))
    rows = ltx.denoiser(two, toys.uniform(two, video=0.6, audio=0.6), half)
    assert toys.same(toys.row(rows, 0), made, ROUNDING)
    assert toys.same(toys.row(rows, 1), ltx.denoiser(av, times, said), ROUNDING)
    still = ltx.denoiser(av, toys.uniform(av, video=0.0, audio=0.6), shown)
    assert (still["video"][:, :1] == 0).all()


def test_a_clip_begins_with_its_image(first):
    """With any guidance, after all steps."""
    known = torch.randn(1, 1, 2, 3, toys.C, generator=torch.Generator().manual_seed(5))
    said = toys.conditions(first.widths) | {
        "image": toys.picture(known, torch.ones(1, 1, dtype=torch.bool))
    }
    settings = {"solver": Euler(), "shift": ConstantShift(1), "path": StraightPath(), "steps": 3}
    made = sample(
        first.denoiser, toys.noise(), said, codecs=first.codecs, guidance=SyncCFG(), **settings
    )
    assert torch.allclose(made["video"][:, :1], known, atol=20 * ROUNDING)


@pytest.mark.parametrize("fps", ["24", "12.5", "30000/1001"])
def test_positions_of_tokens_are_from_the_clocks(fps):
    """They equal the coordinates of diffusers' pipelines, from counts and frame rate."""
    made = toys.parts(format=attrs.evolve(toys.FORMAT, fps=fps))
    places, rate = (
        made.denoiser._positions(toys.noise(batch=2)),
        float(made.codecs["video"].format.fps),
    )
    wanted = AV(
        made.model.rope.prepare_video_coords(2, 3, 2, 3, torch.device("cpu"), fps=rate),
        made.model.audio_rope.prepare_audio_coords(2, 19, torch.device("cpu")),
    )
    assert toys.same(places, wanted, 0 if fps == "24" else 1e-7)
    assert places["video"][0, 0, ::6, 1].tolist() == pytest.approx([1 / rate, 9 / rate, 17 / rate])
    assert places["audio"][0, 0, :3].flatten().tolist() == pytest.approx(
        [0, 0.01, 0.01, 0.05, 0.05, 0.09]
    )


def test_isolated_streams_are_independent(ltx):
    """As with isolate_modalities; another sound doesn't change the video."""
    av, said = toys.noise(), toys.conditions(ltx.widths)
    times = toys.uniform(av, video=0.7, audio=0.7)
    made = ltx.denoiser(av, times, said, hints={"isolate"})
    assert toys.same(
        made,
        toys.direct(
            ltx.model, av, said, 0.7, 0.7, isolate_modalities=True, use_cross_timestep=ltx.other
        ),
    )
    other = av.replace(audio=-av["audio"])
    assert torch.equal(ltx.denoiser(other, times, said, hints={"isolate"})["video"], made["video"])
    assert not torch.equal(
        ltx.denoiser(other, times, said)["video"], ltx.denoiser(av, times, said)["video"]
    )


def test_a_skipped_block_replaces_attention_by_its_values(first):
    """As spatio_temporal_guidance_blocks, if the configuration supports it; else there is no such
    hint."""
    av, said = toys.noise(), toys.conditions(first.widths)
    times = toys.uniform(av, video=0.7, audio=0.7)
    assert first.denoiser.hints == {"isolate", "skip-0", "skip-1"}
    plain = first.denoiser(av, times, said)
    for hints, blocks in (({"skip-1"}, [1]), ({"skip-0", "skip-1"}, [0, 1])):
        made = first.denoiser(av, times, said, hints=hints)
        assert toys.same(
            made,
            toys.direct(first.model, av, said, 0.7, 0.7, spatio_temporal_guidance_blocks=blocks),
        )
        assert not toys.same(made, plain)
    assert toys.parts(toys.TRANSFORMER | {"perturbed_attn": False}).denoiser.hints == {"isolate"}


@pytest.mark.parametrize(("setting", "other"), [("other", True), ("own", False)])
def test_cross_timestep_chooses_the_stream_whose_time_is_used(setting, other):
    """It matters only in a driven task."""
    made = toys.parts(cross_timestep=setting)
    av, said = toys.noise(), toys.conditions(made.widths)
    answers = [
        toys.direct(made.model, av, said, 0.7, 0.0, use_cross_timestep=other)
        for other in (other, not other)
    ]
    answer = made.denoiser(av, toys.uniform(av, video=0.7, audio=0.0), said)
    assert toys.same(answer, answers[0])
    assert not toys.same(answer, answers[1])
    same = [
        toys.direct(made.model, av, said, 0.7, 0.7, use_cross_timestep=other)
        for other in (True, False)
    ]
    assert toys.same(*same)


def test_the_streams_in_read_are_returned(first):
    """In the latents' type, for any precision; the cache changes nothing."""
    av, said = toys.noise(), toys.conditions(first.widths)
    times, cache = toys.uniform(av, video=0.7, audio=0.7), {}
    whole = first.denoiser(av, times, said, cache=cache)
    assert tuple(first.denoiser(av, times, said, read=("audio",))) == ("audio",)
    assert toys.same(first.denoiser(av, times, said, cache=cache), whole)
    coarse = toys.parts(precision="bfloat16")
    made = coarse.denoiser(av, times, said)
    assert coarse.denoiser.frozen.dtype == torch.bfloat16
    assert {made[s].dtype for s in made} == {torch.float32}
    assert toys.same(made, whole, 0.2)
    assert not toys.same(made, whole)


def test_weights_move_with_the_module_but_are_not_saved(first):
    """The denoiser lists their module in `external_modules`, and moves it."""
    assert not first.denoiser.state_dict()
    assert not list(first.denoiser.parameters())
    assert first.denoiser.external_modules == first.denoiser.frozen.models
    moved = torch.nn.ModuleDict({"denoiser": toys.parts().denoiser}).to(torch.bfloat16)["denoiser"]
    assert moved.frozen.dtype == torch.float32
    moved.to("meta")
    assert {weight.device.type for weight in moved.frozen.parameters()} == {"meta"}


def test_it_is_counted_at_full_size_without_weights():
    """On the meta device: parameters of the four models, and a pass over 5 s of 512 x 768."""
    form = toys.Format(fps=24, height=512, width=768, sample_rate=24000, seconds=5.04)
    with torch.device("meta"):
        codecs = AV(LTX2Video().build(format=form), toys.LTX2Audio().build(format=form))
        text = LTX2Text().build(format=form, codecs=codecs)
        denoiser = LTX2().build(codecs=codecs, encoders={"text": text})
    sizes = [
        sum(weight.numel() for weight in part.frozen.parameters())
        for part in (denoiser, codecs["video"], text)
    ]
    assert sizes == [18_876_174_592, 1_222_479_601, 12_187_325_040 + 1_431_475_200]
    assert (codecs["video"].grid, codecs["video"].channels, codecs["video"].latents(121)) == (
        (16, 24),
        128,
        16,
    )
    assert codecs["audio"].latents(form.samples(121)) == 127
    av = AV(torch.empty(1, 16, 16, 24, 128, device="meta"), torch.empty(1, 127, 128, device="meta"))
    said = {
        name: Condition(
            torch.empty(1, 1024, 3840, device="meta"), torch.ones(1, 1024, device="meta").bool()
        )
        for name in text.produces
    }
    made = denoiser(av, toys.uniform(av, video=1.0, audio=0.0), said)
    assert {s: made[s].shape for s in made} == {s: av[s].shape for s in av}
    assert text.produces == {"caption": 3840, "sound": 3840}


def test_mismatches_are_named(first):
    """In assembly all mismatches at once, in a call each by its name."""
    narrow = SimpleNamespace(channels=5)
    encoders = {"text": SimpleNamespace(produces={"caption": 7, "speech": 16})}
    with pytest.raises(AssemblyError) as caught:
        LTX2(config=toys.TRANSFORMER).build(codecs=AV(narrow, None), encoders=encoders)
    for said in (
        "$.denoiser: LTX-2 needs video latents of 8 channels; the codec's have 5",
        "$.denoiser: LTX-2 needs both streams, but there is no codec for the audio",
        "$.denoiser: no encoder produces 'sound', the text of the audio; ltx2-text does",
        "$.denoiser: LTX-2 has no condition 'speech'; it accepts caption, sound, image",
        "$.denoiser: the condition 'caption' has width 7, but LTX-2 needs 16",
    ):
        assert said in str(caught.value)
    with pytest.raises(AssemblyError, match="one token per latent"):
        toys.parts(toys.TRANSFORMER | {"patch_size": 2})
    with pytest.raises(ValueError, match="cross_timestep"):
        LTX2(cross_timestep="both")
    av, said = toys.noise(), toys.conditions(first.widths)
    times = toys.uniform(av, video=0.7, audio=0.7)
    with pytest.raises(
        PartContractError, match="the audio is absent, but LTX-2 needs both streams"
    ):
        first.denoiser(av.only(["video"]), times.only(["video"]), said)
    with pytest.raises(PartContractError, match="LTX-2 needs the conditions image, sound"):
        first.denoiser(av, times, {"caption": said["caption"]})
    with pytest.raises(
        PartContractError, match="LTX-2 has no hint skip-7; it supports isolate, skip-0, skip-1"
    ):
        first.denoiser(av, times, said, hints={"skip-7"})

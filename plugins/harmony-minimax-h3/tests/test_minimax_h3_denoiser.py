"""The denoiser against diffusers' transformer: times, passes of SyncCFG, known latents, errors."""

from __future__ import annotations

from types import SimpleNamespace

import attrs
import minimax_h3_toys as toys
import pytest
import torch

from harmony_minimax_h3.denoiser import MiniMaxH3
from harmony_parts.av import AV
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.flow.stream_shifts import StreamShifts
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.sampler import sample

ROUNDING = 2e-6  # of sums in another order: diffusers has one time once, if both streams have it
GIVEN = {"joint": (), "audio-driven": ("audio",), "video-driven": ("video",)}


@pytest.fixture(scope="module")
def h3():
    return toys.parts()


@pytest.mark.parametrize(
    ("t_v", "t_a"), [(1.0, 1.0), (0.7, 0.7), (0.7, 0.3), (0.7, 0.0), (0.0, 0.4)]
)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_pass_equals_diffusers(h3, t_v, t_a, batch):
    """At any times, with texts of different lengths; a time of both streams differs from it."""
    av, said = toys.noise(batch=batch), toys.conditions(batch=batch)
    made = h3.denoiser(av, toys.uniform(av, video=t_v, audio=t_a), said)
    assert toys.same(made, toys.direct(h3.model, av, said["caption"], t_v, t_a), ROUNDING)
    for both in {t_v, t_a} if t_v != t_a else ():
        one = toys.direct(h3.model, av, said["caption"], both, both)
        assert all(not torch.allclose(made[s], one[s], atol=1e-4) for s in made)


def test_each_time_reaches_the_rows_of_its_stream(h3):
    """What the embedding of times gets, and which of it modulates text, sound and video."""
    seen = {}
    hooks = [
        h3.model.time_proj.register_forward_pre_hook(
            lambda module, args: seen.update(times=args[0])
        ),
        h3.model.norm_out.register_forward_pre_hook(
            lambda module, args: seen.update(rows=args[2]),
        ),
    ]
    av, said = toys.noise(), toys.conditions(length=3)
    for t_v, t_a in ((0.75, 0.0), (0.0, 0.75), (1.0, 0.25)):
        h3.denoiser(av, toys.uniform(av, video=t_v, audio=t_a), said)
        of_rows = seen["times"][seen["rows"]].tolist()
        text = 1  # of 3 tokens, two of which are masked
        assert of_rows == [1 - t_v] * text + [1 - t_a] * 2 * toys.SOUNDS + [1 - t_v] * 2 * 7
    for hook in hooks:
        hook.remove()


def test_each_latent_has_its_time(h3):
    """Clean latents at the beginning have the model's time 1, and the text that of the others."""
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.3)
    begun = torch.arange(toys.LATENTS)[None] < 2
    some = times.replace(video=times["video"].clean_where(begun))
    made = h3.denoiser(av, some, said)
    at = torch.where(begun[0], 0.0, 0.7)
    assert toys.same(made, toys.direct(h3.model, av, said["caption"], at, 0.3), ROUNDING)
    assert not toys.same(made, h3.denoiser(av, times, said), 1e-3)


def by_hand(h3, noise, given, said, guidance, steps, shifts):
    """SyncCFG by direct calls, with Euler's steps."""
    x = noise.replace(**{s: given[s] for s in given})
    mute = h3.codecs.audio.encode(torch.zeros(1, 2, h3.codecs.audio.samples(toys.SOUNDS)))
    shown = [s for s in noise if s not in tuple(given)]

    def at_step(step):
        u = 1 - step / steps
        return {
            s: 0.0 if s in tuple(given) else k * u / (1 + (k - 1) * u) for s, k in shifts.items()
        }

    for step in range(steps):
        t, after = at_step(step), at_step(step + 1)

        def call(av, t_v, t_a):
            return toys.direct(h3.model, av, said["caption"], t_v, t_a)

        joint, guided = call(x, t["video"], t["audio"]), {}
        if "video" in shown:
            negative = call(x.replace(audio=mute), t["video"], 0.0).video
            guided["video"] = negative + guidance.video * (joint.video - negative)
        if "audio" in shown:
            clean = x.video - t["video"] * joint.video if "video" in shown else x.video
            still = h3.codecs.video.decode(clean[:, :1]).expand(-1, 22, -1, -1, -1)
            negative = call(x.replace(video=h3.codecs.video.encode(still)), 0.0, t["audio"]).audio
            guided["audio"] = negative + guidance.audio * (joint.audio - negative)
        x = x.replace(**{s: x[s] + (after[s] - t[s]) * guided[s] for s in guided})
    return x


@pytest.mark.parametrize("task", GIVEN)
def test_sync_cfg_and_driven_tasks_run_with_anchors_of_the_codecs(h3, task):
    """Silence and the still picture through the real codec classes, at time 0, and a shift for
    each stream; the whole run.
    """
    noise, clean = toys.noise(), toys.noise(1)
    given, said = clean.only(GIVEN[task]), toys.conditions()
    guidance = SyncCFG(video=3, audio=2)
    made = sample(
        h3.denoiser,
        noise.only([s for s in noise if s not in tuple(given)]),
        said,
        codecs=h3.codecs,
        given=given,
        guidance=guidance,
        solver=Euler(),
        shift=StreamShifts(ConstantShift(12), ConstantShift(3)),
        path=StraightPath(),
        steps=2,
    )
    shifts = {"video": 12, "audio": 3}
    # rounding can turn a byte of the still picture over
    assert toys.same(made, by_hand(h3, noise, given, said, guidance, 2, shifts), 1e-3)
    other = SyncCFG(video=2.5, audio=1.5)
    assert not toys.same(made, by_hand(h3, noise, given, said, other, 2, shifts), 1e-3)
    same = {"video": 3, "audio": 3}
    assert task == "video-driven" or not toys.same(
        made, by_hand(h3, noise, given, said, guidance, 2, same), 1e-3
    )


def test_an_image_is_the_clean_first_latent(h3):
    """Of the sample that has one; its velocity leads to it."""
    av, said = toys.noise(batch=2), toys.conditions(batch=2)
    known = torch.randn(2, 1, *toys.GRID, toys.C, generator=torch.Generator().manual_seed(4))
    said["image"] = toys.picture(known, torch.tensor([[True], [False]]))
    made = h3.denoiser(av, toys.uniform(av, video=0.7, audio=0.3), said)
    begun = av.replace(video=torch.cat([known, av["video"][:, 1:]], dim=1))
    at = torch.full((toys.LATENTS,), 0.7)
    plain = toys.direct(h3.model, av, said["caption"], at, 0.3)
    at[0] = 0.0
    shown = toys.direct(h3.model, begun, said["caption"], at, 0.3)
    assert torch.allclose(made["video"][0, 1:], shown["video"][0, 1:], atol=ROUNDING)
    assert torch.allclose(made["video"][1], plain["video"][1], atol=ROUNDING)
    assert torch.allclose(av["video"][0, 0] - 0.7 * made["video"][0, 0], known[0, 0], atol=1e-6)


def test_bfloat16_weights_are_those_that_diffusers_loads(model):
    """What its checkpoint has in float32 stays so; latents come back in float32."""
    coarse = toys.parts({}, model=str(model), precision="bfloat16")
    kept = set(coarse.model._keep_in_fp32_modules)
    for name, weight in coarse.model.named_parameters():
        wanted = torch.float32 if kept & set(name.split(".")) else torch.bfloat16
        assert weight.dtype == wanted, name
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.2)
    made = coarse.denoiser(av, times, said)
    whole = toys.parts({}, model=str(model)).denoiser(av, times, said)
    assert {made[s].dtype for s in made} == {torch.float32}
    assert toys.same(made, whole, 0.2)
    assert not toys.same(made, whole)


def test_weights_move_with_the_module_but_are_not_saved(h3):
    """The denoiser lists their module in `external_modules`, and moves it."""
    assert not h3.denoiser.state_dict()
    assert h3.denoiser.external_modules == h3.denoiser.frozen.models
    moved = toys.parts().denoiser.to("meta")
    assert {weight.device.type for weight in moved.frozen.parameters()} == {"meta"}


def test_mismatches_are_named(h3):
    """In assembly all mismatches at once, in a call each by its name."""
    codecs = AV(
        SimpleNamespace(channels=5, grid=(2, 4), clock=h3.codecs.video.clock),
        None,
    )
    encoders = {"text": SimpleNamespace(produces={"speech": 16})}
    with pytest.raises(AssemblyError) as caught:
        MiniMaxH3(config=toys.TRANSFORMER).build(codecs=codecs, encoders=encoders)
    for said in (
        "$.denoiser: MiniMax-H3 needs video latents of 4 channels; the codec's have 5",
        "$.denoiser: MiniMax-H3 needs both streams, but there is no codec for the audio",
        "$.denoiser: no encoder produces 'caption', the text's tokens; minimax-h3-text does",
        "$.denoiser: MiniMax-H3 has no condition 'speech'; it accepts caption, image",
    ):
        assert said in str(caught.value)
    for change, message in (
        ({"patch_size": (2, 2, 2)}, "patches of 2 latents in time are not supported"),
        ({"patch_size": (1, 4, 4)}, "a picture has 2 x 4 latents, but the model's patches are"),
    ):
        with pytest.raises(AssemblyError, match=message):
            toys.parts(toys.TRANSFORMER | change)
    slow = attrs.evolve(toys.FORMAT, fps=25)
    with pytest.raises(AssemblyError, match=r"those of 24 frames \(format.fps\) per second"):
        MiniMaxH3(config=toys.TRANSFORMER).build(
            codecs=h3.codecs.replace(
                video=toys.MiniMaxH3Video(config=toys.VIDEO).build(format=slow)
            ),
            encoders={"text": SimpleNamespace(produces={"caption": toys.TEXT})},
        )
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.7)
    with pytest.raises(PartContractError, match="the audio is absent, but MiniMax-H3 needs both"):
        h3.denoiser(av.only(["video"]), times.only(["video"]), said)
    with pytest.raises(PartContractError, match="has no hint isolate; it supports none"):
        h3.denoiser(av, times, said, hints={"isolate"})

"""The denoiser against diffusers' transformer: times, passes of SyncCFG, known latents, errors."""

from __future__ import annotations

from types import SimpleNamespace

import cosmos3_toys as toys
import pytest
import torch

from harmony_cosmos3.denoiser import Cosmos3
from harmony_parts.av import AV
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.sampler import sample

GIVEN = {"joint": (), "audio-driven": ("audio",), "video-driven": ("video",)}


@pytest.fixture(scope="module")
def c3():
    return toys.parts()


@pytest.mark.parametrize(
    ("t_v", "t_a"), [(1.0, 1.0), (0.7, 0.7), (0.7, 0.3), (0.7, 0.0), (0.0, 0.4)]
)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_pass_equals_diffusers_bitwise(c3, t_v, t_a, batch):
    """At any times, with texts of different lengths; a stream at 0 has no noisy latents."""
    av, said = toys.noise(batch=batch), toys.conditions(batch=batch)
    made = c3.denoiser(av, toys.uniform(av, video=t_v, audio=t_a), said)
    assert toys.same(made, toys.direct(c3.model, av, said["caption"], t_v, t_a))
    other = toys.direct(c3.model, av, said["caption"], t_v or 0.5, t_a or 0.5)
    assert (not toys.same(made, other, 1e-3)) is (0 in (t_v, t_a))


def test_each_time_reaches_its_stream(c3):
    """Neither goes to both: what the embedding gets for the tokens of either stream."""
    seen = []
    hook = c3.model.time_proj.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].tolist())
    )
    av, said = toys.noise(), toys.conditions()
    c3.denoiser(av, toys.uniform(av, video=0.7, audio=0.2), said)
    c3.denoiser(av, toys.uniform(av, video=0.0, audio=0.2), said)
    hook.remove()
    video, sound, none, again = seen
    assert video == pytest.approx([0.7] * toys.FRAMES * 2)  # 1 x 2 patches
    assert sound == again == pytest.approx([0.2] * toys.SOUNDS)
    assert none == []


def test_each_latent_has_its_time(c3):
    """Clean latents at the beginning are left out, as the pipeline leaves out an image's."""
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.3)
    begun = torch.arange(toys.FRAMES)[None] < 2
    some = times.replace(video=times["video"].clean_where(begun))
    made = c3.denoiser(av, some, said)
    at = torch.where(begun[0], 0.0, 0.7)
    assert toys.same(made, toys.direct(c3.model, av, said["caption"], at, 0.3))
    assert (made["video"][:, :2] == 0).all()
    assert not toys.same(made, c3.denoiser(av, times, said), 1e-3)


def by_hand(c3, noise, given, said, guidance, steps):
    """SyncCFG by direct calls, with Euler's steps."""
    x = noise.replace(**{s: given[s] for s in given})
    mute = c3.codecs.audio.encode(torch.zeros(1, 2, c3.codecs.audio.samples(toys.SOUNDS)))
    shown = [s for s in noise if s not in tuple(given)]
    for step in range(steps):
        t, after = 1 - step / steps, 1 - (step + 1) / steps
        at = {s: 0.0 if s in tuple(given) else t for s in noise}

        def call(av, t_v, t_a):
            return toys.direct(c3.model, av, said["caption"], t_v, t_a)

        joint, guided = call(x, at["video"], at["audio"]), {}
        if "video" in shown:
            negative = call(x.replace(audio=mute), at["video"], 0.0).video
            guided["video"] = negative + guidance.video * (joint.video - negative)
        if "audio" in shown:
            clean = x.video - at["video"] * joint.video if "video" in shown else x.video
            still = c3.codecs.video.decode(clean[:, :1]).expand(-1, 17, -1, -1, -1)
            negative = call(x.replace(video=c3.codecs.video.encode(still)), 0.0, at["audio"]).audio
            guided["audio"] = negative + guidance.audio * (joint.audio - negative)
        x = x.replace(**{s: x[s] + (after - t) * guided[s] for s in guided})
    return x


@pytest.mark.parametrize("task", GIVEN)
def test_sync_cfg_and_driven_tasks_run_with_anchors_of_the_codecs(c3, task):
    """Silence and the still picture through the real codec classes, at time 0; the whole run."""
    noise, clean = toys.noise(), toys.noise(1)
    given, said = clean.only(GIVEN[task]), toys.conditions()
    guidance = SyncCFG(video=3, audio=2)
    made = sample(
        c3.denoiser,
        noise.only([s for s in noise if s not in tuple(given)]),
        said,
        codecs=c3.codecs,
        given=given,
        guidance=guidance,
        solver=Euler(),
        shift=ConstantShift(1),
        path=StraightPath(),
        steps=2,
    )
    # rounding can turn a byte of the still picture over
    assert toys.same(made, by_hand(c3, noise, given, said, guidance, steps=2), 1e-3)
    other = SyncCFG(video=2.5, audio=1.5)
    assert not toys.same(made, by_hand(c3, noise, given, said, other, steps=2), 1e-3)


def test_bfloat16_weights_are_those_that_diffusers_loads(model):
    """The embedding of times stays in float32; latents come back in float32."""
    coarse = toys.parts({}, model=str(model), precision="bfloat16")
    for name, weight in coarse.model.named_parameters():
        kept = "time_embedder" in name.split(".")
        assert weight.dtype == (torch.float32 if kept else torch.bfloat16), name
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.2)
    made = coarse.denoiser(av, times, said)
    whole = toys.parts({}, model=str(model)).denoiser(av, times, said)
    assert {made[s].dtype for s in made} == {torch.float32}
    assert toys.same(made, whole, 0.2)
    assert not toys.same(made, whole)


def test_weights_move_with_the_module_but_are_not_saved(c3):
    """The denoiser lists their module in `external_modules`, and moves it."""
    assert not c3.denoiser.state_dict()
    assert c3.denoiser.external_modules == c3.denoiser.frozen.models
    moved = toys.parts().denoiser.to("meta")
    assert {weight.device.type for weight in moved.frozen.parameters()} == {"meta"}


def test_mismatches_are_named(c3):
    """In assembly all mismatches at once, in a call each by its name."""
    codecs = AV(SimpleNamespace(channels=5, grid=(2, 3)), None)
    encoders = {"text": SimpleNamespace(produces={"speech": 16})}
    with pytest.raises(AssemblyError) as caught:
        Cosmos3(config=toys.TRANSFORMER).build(codecs=codecs, encoders=encoders)
    for said in (
        "$.denoiser: Cosmos3-Omni needs video latents of 4 channels; the codec's have 5",
        "$.denoiser: Cosmos3-Omni needs both streams, but there is no codec for the audio",
        "$.denoiser: no encoder produces 'caption', the numbers of the text's tokens",
        "$.denoiser: Cosmos3-Omni has no condition 'speech'; it accepts caption, image",
    ):
        assert said in str(caught.value)
    for change, message in (
        ({"sound_gen": False}, "these weights have no sound"),
        ({"sound_latent_fps": 50.0}, "it has 50 latents of sound per second, the codec 25"),
    ):
        with pytest.raises(AssemblyError, match=message):
            toys.parts(toys.TRANSFORMER | change)
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.7)
    with pytest.raises(PartContractError, match="the audio is absent, but Cosmos3-Omni needs both"):
        c3.denoiser(av.only(["video"]), times.only(["video"]), said)
    with pytest.raises(PartContractError, match="has no hint isolate; it supports none"):
        c3.denoiser(av, times, said, hints={"isolate"})

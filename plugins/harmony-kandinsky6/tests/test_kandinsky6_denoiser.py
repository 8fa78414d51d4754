"""The denoiser against diffusers' transformer: times, passes of SyncCFG, images, hints, errors."""

from __future__ import annotations

from types import SimpleNamespace

import kandinsky6_toys as toys
import pytest
import torch

from harmony_kandinsky6.denoiser import Kandinsky6
from harmony_parts.av import AV, Times
from harmony_parts.errors import AssemblyError, PartContractError
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.sampler import sample

ROUNDING = 1e-6
GIVEN = {"joint": (), "audio-driven": ("audio",), "video-driven": ("video",)}


@pytest.fixture(scope="module", params=["plain", "released"])
def k6(request):
    """Both forms."""
    return toys.parts({"plain": toys.PLAIN, "released": toys.RELEASED}[request.param])


def test_a_pass_at_equal_times_equals_diffusers_bitwise(k6):
    """With masked text tokens and without, for several samples at once."""
    for batch in (1, 2):
        av, said = toys.noise(batch=batch), toys.conditions(batch=batch)
        for t in (1.0, 0.7, 0.0):
            made = k6.denoiser(av, toys.uniform(av, video=t, audio=t), said)
            assert toys.same(made, toys.direct(k6.model, av, said, t))
    assert not toys.same(made, toys.direct(k6.model, av, said, 0.7), 1e-3)


def test_each_time_reaches_the_modules_of_its_stream(k6):
    """(t, 0) and (0, t) equal the model put together by hand; neither time goes to both."""
    av, said = toys.noise(batch=2), toys.conditions(batch=2)
    assert toys.same(
        toys.by_hand(k6.model, av, said, 0.7, 0.7), toys.direct(k6.model, av, said, 0.7)
    )
    seen = {}
    hooks = [
        getattr(k6.model, f"{s}_time_embeddings").time_proj.register_forward_pre_hook(
            lambda module, args, s=s: seen.update({s: args[0].tolist()})
        )
        for s in av
    ]
    for t_v, t_a in ((0.7, 0.0), (0.0, 0.7), (1.0, 0.25)):
        made = k6.denoiser(av, toys.uniform(av, video=t_v, audio=t_a), said)
        assert seen == {
            "video": pytest.approx([1000 * t_v] * 2),
            "audio": pytest.approx([1000 * t_a] * 2),
        }
        assert toys.same(made, toys.by_hand(k6.model, av, said, t_v, t_a))
        for both in (t_v, t_a):
            one = toys.direct(k6.model, av, said, both)
            assert all(not torch.allclose(made[s], one[s], atol=1e-4) for s in made)
    for hook in hooks:
        hook.remove()


def test_samples_of_a_batch_have_their_own_times(k6):
    """The result equals that of each sample alone."""
    av, said = toys.noise(batch=2), toys.conditions(batch=2)
    pairs = ((0.7, 0.0), (0.0, 0.4))
    times = AV(
        *(
            Times.uniform(torch.tensor([pair[k] for pair in pairs]), av[s].shape[1])
            for k, s in enumerate(av)
        )
    )
    both = k6.denoiser(av, times, said)
    for n, (t_v, t_a) in enumerate(pairs):
        alone = {name: condition.rows(torch.tensor([n])) for name, condition in said.items()}
        wanted = toys.by_hand(k6.model, toys.row(av, n), alone, t_v, t_a)
        assert toys.same(toys.row(both, n), wanted, ROUNDING)


def test_a_stream_has_the_highest_time_of_its_latents(k6):
    """It has one time; latents of time 0 at the beginning are clean."""
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.3)
    begun = torch.arange(toys.FRAMES)[None] < 2
    some = times.replace(video=times["video"].clean_where(begun))
    assert toys.same(k6.denoiser(av, some, said), k6.denoiser(av, times, said))


def by_hand(k6, noise, given, said, guidance, steps):
    """SyncCFG by direct calls, with Euler's steps."""
    x = noise.replace(**{s: given[s] for s in given})
    mute = k6.codecs.audio.encode(torch.zeros(1, 1, k6.codecs.audio.samples(toys.SOUNDS)))
    shown = [s for s in noise if s not in tuple(given)]
    for step in range(steps):
        t, after = 1 - step / steps, 1 - (step + 1) / steps
        at = {s: 0.0 if s in tuple(given) else t for s in noise}

        def call(av, t_v, t_a):
            return toys.by_hand(k6.model, av, said, t_v, t_a)

        joint, guided = call(x, at["video"], at["audio"]), {}
        if "video" in shown:
            negative = call(x.replace(audio=mute), at["video"], 0.0).video
            guided["video"] = negative + guidance.video * (joint.video - negative)
        if "audio" in shown:
            clean = x.video - at["video"] * joint.video if "video" in shown else x.video
            still = k6.codecs.video.decode(clean[:, :1]).expand(-1, 17, -1, -1, -1)
            negative = call(x.replace(video=k6.codecs.video.encode(still)), 0.0, at["audio"]).audio
            guided["audio"] = negative + guidance.audio * (joint.audio - negative)
        x = x.replace(**{s: x[s] + (after - t) * guided[s] for s in guided})
    return x


@pytest.mark.parametrize("task", GIVEN)
def test_sync_cfg_and_driven_tasks_run_with_anchors_of_the_codecs(k6, task):
    """Silence and the still picture through the real codec classes, at time 0; the whole run."""
    noise, clean = toys.noise(), toys.noise(1)
    given, said = clean.only(GIVEN[task]), toys.conditions()
    guidance = SyncCFG(video=3, audio=2)
    made = sample(
        k6.denoiser,
        noise.only([s for s in noise if s not in tuple(given)]),
        said,
        codecs=k6.codecs,
        given=given,
        guidance=guidance,
        solver=Euler(),
        shift=ConstantShift(1),
        path=StraightPath(),
        steps=2,
    )
    # rounding can turn a byte of the still picture over
    assert toys.same(made, by_hand(k6, noise, given, said, guidance, steps=2), 1e-3)
    other = SyncCFG(video=2.9, audio=1.9)
    assert not toys.same(made, by_hand(k6, noise, given, said, other, steps=2), 1e-3)


def test_an_image_is_a_frame_at_the_end_as_in_diffusers(k6):
    """The other frames equal the direct call; the first latent's velocity leads to the image."""
    av, said = toys.noise(batch=2), toys.conditions(batch=2)
    known = torch.randn(2, 1, 4, 6, toys.C, generator=torch.Generator().manual_seed(5))
    times = toys.uniform(av, video=0.6, audio=0.6)
    shown = said | {"image": toys.picture(known, torch.ones(2, 1, dtype=torch.bool))}
    made = k6.denoiser(av, times, shown)
    video = torch.cat([av["video"], known], dim=1)
    mark = torch.zeros_like(video[..., :1])
    mark[:, -1] = 1
    types = torch.zeros(2, toys.FRAMES + 1, dtype=torch.long)
    types[:, -1] = 1
    direct = toys.direct(
        k6.model,
        av,
        said,
        0.6,
        hidden_states=torch.cat([video, torch.zeros_like(video), mark], dim=-1),
        visual_token_type_ids=types,
        visual_rope_pos=(torch.tensor([0, 1, 2, 3, 4, 0]), torch.arange(2), torch.arange(3)),
    )
    assert torch.equal(made["audio"], direct["audio"])
    assert torch.equal(made["video"][:, 1:], direct["video"][:, 1:-1])
    assert torch.allclose(av["video"][:, :1] - 0.6 * made["video"][:, :1], known, atol=ROUNDING)
    half = said | {"image": toys.picture(known, torch.tensor([[True], [False]]))}
    rows = k6.denoiser(av, times, half)
    assert toys.same(toys.row(rows, 0), toys.row(made, 0), ROUNDING)
    plain = k6.denoiser(av, times, said)
    assert toys.same(toys.row(rows, 1), toys.row(plain, 1), ROUNDING)
    assert not toys.same(made, plain, 1e-3)
    still = k6.denoiser(av, toys.uniform(av, video=0.0, audio=0.6), shown)
    assert (still["video"][:, :1] == 0).all()


def test_bfloat16_weights_are_those_that_diffusers_loads(model):
    """Some stay in float32; latents come back in float32."""
    coarse = toys.parts({}, model=str(model), precision="bfloat16")
    types = {name: weight.dtype for name, weight in coarse.model.named_parameters()}
    kept = {name for name in types if "modulation" in name.split(".")}
    assert kept == {
        f"{layer}.modulation.out_layer.{kind}"
        for layer in ("out_layer", "audio_out_layer")
        for kind in ("weight", "bias")
    }
    assert all(types[n] == (torch.float32 if n in kept else torch.bfloat16) for n in types)
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.2)
    made = coarse.denoiser(av, times, said)
    whole = toys.parts({}, model=str(model)).denoiser(av, times, said)
    assert {made[s].dtype for s in made} == {torch.float32}
    assert toys.same(made, whole, 0.1)
    assert not toys.same(made, whole)


def test_weights_move_with_the_module_but_are_not_saved(k6):
    """The denoiser lists their module in `external_modules`, and moves it."""
    assert not k6.denoiser.state_dict()
    assert not list(k6.denoiser.parameters())
    assert k6.denoiser.external_modules == k6.denoiser.frozen.models
    moved = toys.parts().denoiser.to("meta")
    assert {weight.device.type for weight in moved.frozen.parameters()} == {"meta"}


def test_mismatches_are_named(k6):
    """In assembly all mismatches at once, in a call each by its name."""
    narrow = SimpleNamespace(channels=5, grid=(4, 6))
    encoders = {"text": SimpleNamespace(produces={"caption": 7, "speech": 16})}
    with pytest.raises(AssemblyError) as caught:
        Kandinsky6(config=toys.PLAIN).build(codecs=AV(narrow, None), encoders=encoders)
    for said in (
        "$.denoiser: Kandinsky 6 needs video latents of 4 channels; the codec's have 5",
        "$.denoiser: Kandinsky 6 needs both streams, but there is no codec for the audio",
        "$.denoiser: no encoder produces 'pooled', the text as one token; kandinsky6-text does",
        "$.denoiser: Kandinsky 6 has no condition 'speech'; it accepts caption, pooled, image",
        "$.denoiser: the condition 'caption' has width 7, but Kandinsky 6 needs 16",
    ):
        assert said in str(caught.value)
    for change, message in (
        ({"patch_size": (2, 2, 2)}, "patches of 2 latents in time"),
        ({"patch_size": (1, 4, 4)}, "a picture has 4 x 6 latents, but the model's patches"),
        ({"out_visual_dim": 12}, "it predicts 12 and 6 channels, not a velocity"),
        ({"visual_token_type_num_embeddings": 0}, "this model takes no image"),
    ):
        with pytest.raises(AssemblyError, match=message):
            toys.parts(toys.RELEASED | change)
    av, said = toys.noise(), toys.conditions()
    times = toys.uniform(av, video=0.7, audio=0.7)
    with pytest.raises(PartContractError, match="the audio is absent, but Kandinsky 6 needs both"):
        k6.denoiser(av.only(["video"]), times.only(["video"]), said)
    with pytest.raises(PartContractError, match="Kandinsky 6 needs the conditions image, pooled"):
        k6.denoiser(av, times, {"caption": said["caption"]})
    with pytest.raises(PartContractError, match="has no hint skip-7; it supports none"):
        k6.denoiser(av, times, said, hints={"skip-7"})

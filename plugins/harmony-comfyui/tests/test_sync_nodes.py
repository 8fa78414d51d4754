"""The nodes, on the stand-in for ComfyUI: held to the library's own sampler."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest
import torch
from torch import Tensor, nn

import harmony_parts as hp
from harmony_parts.av import AV, Condition, Conditions, Times
from harmony_parts.denoisers.protocol import Port
from harmony_parts.errors import AssemblyError
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.protocol import Guidance, Pass, StepTimes, conditional
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.sample.sampler import sample

if os.environ.get("HARMONY_COMFYUI"):
    pytest.skip("runs on the stand-in", allow_module_level=True)

import comfy_stand_in as comfy
from harmony_sync_nodes import nodes
from harmony_sync_nodes.packed import Layout

WORKFLOWS = Path(__file__).parents[1] / "workflows"
NODES = (
    nodes.HarmonySyncCFG,
    nodes.HarmonyGuidance,
    nodes.HarmonyMuteSound,
    nodes.HarmonyStaticVideo,
    nodes.HarmonyGiven,
)
VIDEO, AUDIO = (2, 3, 4, 2, 2), (2, 2, 5, 3)  # [B, C, T, H, W], [B, C, T, F]
SIGMAS = torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0], dtype=torch.float64)


def latents(seed: int) -> list[Tensor]:
    """Both streams, drawn."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in (VIDEO, AUDIO)]


NOISE, ANCHORS, GIVEN = latents(0), [each[:1] for each in latents(1)], latents(2)
MUTE, STATIC = {"samples": ANCHORS[1] / 2}, {"samples": ANCHORS[0] / 2}  # as before latent_in


def conds(prompt: float, **masks: Tensor) -> list[dict[str, Any]]:
    """Conditions as ComfyUI hands them to the model."""
    shapes = comfy.Condition([VIDEO, AUDIO])
    text = comfy.Condition(torch.tensor([prompt], dtype=torch.float64))
    wrapped = {name: comfy.Condition(mask) for name, mask in masks.items()}
    return [{"model_conds": {"latent_shapes": shapes, "prompt": text, **wrapped}}]


def full_masks(given: tuple[str, ...]) -> dict[str, Tensor]:
    """ComfyUI's masks when these streams are given."""
    names = {"video": ("denoise_mask", VIDEO), "audio": ("audio_denoise_mask", AUDIO)}
    return {
        name: (torch.zeros if stream in given else torch.ones)(shape)
        for stream, (name, shape) in names.items()
        if given
    }


class AsDenoiser(nn.Module):
    """The stand-in's model as a denoiser of the library."""

    accepts: ClassVar = {"caption": Port("video", "context")}
    hints: frozenset[str] = frozenset()
    blocks = ()

    def forward(
        self, av: AV[Tensor], times: AV[Times], conditions: Conditions, **kwargs: Any
    ) -> AV[Tensor]:
        video, audio = av["video"].movedim(-1, 1), audio_of(av["audio"])
        t_video = times["video"].per_latent()[:, None, :, None, None]
        t_audio = times["audio"].per_latent()[:, None, :, None]
        prompt = conditions["caption"].tokens[:, 0, 0]
        v, a = comfy.TinyAV().velocity(
            video,
            audio,
            t_video.expand(-1, 1, -1, 2, 2),
            t_audio.expand(-1, 1, -1, AUDIO[3]),
            prompt,
        )
        return AV(v.movedim(1, -1), a.movedim(1, -1).flatten(2)).only(kwargs["read"])


def audio_of(tokens: Tensor) -> Tensor:
    """[B, T, F C] -> [B, C, T, F]."""
    return tokens.unflatten(2, (AUDIO[3], AUDIO[1])).movedim(-1, 1)


@attrs.frozen(eq=False)
class Fixed:
    """An anchor of known latents."""

    stream: str
    values: Tensor
    from_estimate = False

    def latents(self, scene: Any) -> Tensor:
        return self.values.expand_as(scene.latents[self.stream])


LAYOUT = Layout((VIDEO, AUDIO))


def library(streams: list[Tensor]) -> AV[Tensor]:
    return LAYOUT.av(comfy.packed(streams))


def by_library(guidance: Guidance, given: tuple[str, ...] = ()) -> AV[Tensor]:
    """The library's sampler on the same model, noise, times and prompts."""
    both = library(GIVEN)
    prompt, null = (torch.full((2, 1, 1), value, dtype=torch.float64) for value in (0.4, -0.3))
    mask = torch.ones(2, 1, dtype=torch.bool)
    known = both.only(given)
    generated = tuple(stream for stream in ("video", "audio") if stream not in given)
    return sample(
        AsDenoiser(),
        library(NOISE).only(generated),
        {"caption": Condition(prompt, mask, Condition(null, mask))},
        codecs=AV(),
        given=known,
        guidance=guidance,
        solver=hp.Euler(),
        shift=Table(),
        path=hp.StraightPath(),
        steps=len(SIGMAS) - 1,
    )


@attrs.frozen
class Table:
    """A shift that gives the times of SIGMAS."""

    def __call__(self, times: Tensor) -> Tensor:
        return SIGMAS.to(times)


def sync(**settings: Any) -> SyncCFG:
    """SyncCFG with the anchors as the library gets them."""
    both = library(ANCHORS)
    mute, static = Fixed("audio", both["audio"]), Fixed("video", both["video"])
    return SyncCFG(mute=mute, static=static, **settings)


def run(
    patcher: Any, given: tuple[str, ...] = (), cfg: float = 1.0, **options: Any
) -> tuple[AV[Tensor], int]:
    """ComfyUI's sampler; the streams, and the calls of the model a step."""
    patcher.model.calls = 0
    masks = list(full_masks(given).values()) or None
    options = {"latent": GIVEN if given else None, "masks": masks} | options
    marked = full_masks(given) if "conds" not in options else options.pop("conds")
    found = comfy.euler(
        patcher, NOISE, SIGMAS, conds(0.4, **marked), conds(-0.3, **marked), cfg=cfg, **options
    )
    return library(found), patcher.model.calls // (len(SIGMAS) - 1)


def patched(guidance: Guidance, mute: Any = MUTE, static: Any = STATIC) -> Any:
    return nodes.patched(comfy.Patcher(comfy.TinyAV()), guidance, mute, static)


def same(left: AV[Tensor], right: AV[Tensor], tolerance: float = 1e-12) -> None:
    for stream in left:
        torch.testing.assert_close(left[stream], right[stream], rtol=tolerance, atol=tolerance)


GUIDANCES = {
    "sync": (lambda: sync(), 1.0, 3),
    "sync, video alone": (lambda: sync(audio=1.0), 1.0, 2),
    "sync without text in the negatives": (lambda: sync(drop=("caption",)), 1.0, 3),
    "window": (lambda: hp.Window(sync(), low=0.3, high=0.9), 1.0, None),
    "text as a guidance": (lambda: CFG(3.0, 2.0, drop=("caption",)), 1.0, 1),
    "sum": (lambda: hp.SumGuidance((CFG(3.0, 3.0, drop=("caption",)), sync())), 1.0, 3),
    "rescale": (lambda: hp.Rescale(sync()), 1.0, 3),
}


@pytest.mark.parametrize("name", GUIDANCES)
@pytest.mark.parametrize("given", [(), ("audio",), ("video",)])
def test_a_node_gives_what_the_library_gives(name: str, given: tuple[str, ...]):
    """In all three tasks, over a whole run."""
    make, cfg, calls = GUIDANCES[name]
    found, counted = run(patched(make()), given, cfg)
    same(found, by_library(make(), given))
    if calls is not None and not given:
        assert counted == calls


@pytest.mark.parametrize("given", [(), ("audio",), ("video",)])
def test_it_stacks_with_guidance_by_text(given: tuple[str, ...]):
    """cfg 3 in the sampler and SyncCFG as a node are the library's sum; three calls a step."""
    found, calls = run(patched(sync()), given, cfg=3.0)
    same(found, by_library(hp.SumGuidance((CFG(3.0, 3.0, drop=("caption",)), sync())), given))
    assert calls == (2 if given else 3)


def test_a_state_advances_once_a_step():
    """A guidance with momentum, and two runs of one patched model."""
    apg = pytest.importorskip("harmony_apg.apg")
    guidance = apg.APG(drop=("caption",))
    model = patched(guidance)
    for _ in range(2):
        same(run(model)[0], by_library(guidance))


def test_scales_of_one_are_free_and_change_no_bit():
    model = patched(sync(video=1.0, audio=1.0), mute=None, static=None)
    plain = comfy.Patcher(comfy.TinyAV())
    (found, calls), (expected, alone) = run(model, cfg=3.0), run(plain, cfg=3.0)
    assert calls == alone
    same(found, expected, tolerance=0)


def test_it_stacks_with_other_nodes():
    """A function before it and one after it see what they would see without it."""
    seen = []

    def after(args: Any) -> Tensor:
        seen.append((args["cond_denoised"], args["denoised"]))
        return args["denoised"] * 1.5

    model = patched(sync())
    model.set_model_sampler_post_cfg_function(after)
    found, _ = run(model)
    without, _ = run(patched(sync()))
    assert not torch.allclose(found["video"], without["video"])
    assert all(not torch.equal(own, guided) for own, guided in seen)


def test_known_latents_stay_in_every_pass():
    """A given first picture: its latent is clean, in the negatives too, and its time is 0."""
    video_mask = torch.ones(1, 1, *VIDEO[2:])
    video_mask[:, :, :1] = 0
    masks = {"denoise_mask": video_mask, "audio_denoise_mask": torch.ones(1, *AUDIO[1:])}
    model = patched(sync())
    options = {"masks": [video_mask, torch.ones(1, 1, 1, 1)], "latent": GIVEN, "conds": masks}
    found, _ = run(model, **options)
    expected = library(GIVEN)["video"][:, :1]
    torch.testing.assert_close(found["video"][:, :1], expected, rtol=1e-12, atol=1e-12)
    times = torch.stack([video[0, 0, :, 0, 0] for video, _ in model.model.seen])
    assert (times[:, 0] == 0).all()
    joint, mute, static = times[:3, 1:]
    assert (joint == 1).all()
    assert (mute == 1).all()
    assert (static == 0).all()


def test_the_static_video_keeps_known_latents():
    video_mask = torch.ones(1, 1, *VIDEO[2:])
    video_mask[:, :, :1] = 0
    args = {"model": comfy.TinyAV(), "cond": conds(0.4, denoise_mask=video_mask)}
    function = patched(sync()).model_options["sampler_post_cfg_function"][0]
    replaced = LAYOUT.streams(function._replaced(comfy.packed(NOISE), "video", args, LAYOUT))
    assert torch.equal(replaced["video"][:, :, :1], NOISE[0][:, :, :1])
    assert torch.equal(replaced["video"][:, :, 1:], ANCHORS[0][:, :, 1:].expand(2, -1, -1, -1, -1))
    assert torch.equal(replaced["audio"], NOISE[1])


def test_guide_frames_stay():
    """Guides lie behind the video; a static video of the clip's length leaves them alone."""
    guides = {"keyframe_idxs": torch.zeros(1)}
    function = patched(sync(), static={"samples": ANCHORS[0][:, :, :3] / 2})
    function = function.model_options["sampler_post_cfg_function"][0]
    args = {"model": comfy.TinyAV(), "cond": conds(0.4, **guides)}
    replaced = LAYOUT.streams(function._replaced(comfy.packed(NOISE), "video", args, LAYOUT))
    assert torch.equal(replaced["video"][:, :, 3:], NOISE[0][:, :, 3:])
    with pytest.raises(ValueError, match="static video has latents"):
        function._replaced(comfy.packed(NOISE), "video", args | {"cond": conds(0.4)}, LAYOUT)


def test_masks_below_zero_stay():
    """ComfyUI's mark for guides that the model leaves out."""
    mask = torch.full((1, 1, *VIDEO[2:]), 1.0)
    mask[:, :, 3:] = -1
    from harmony_sync_nodes.packed import as_given

    (changed,) = as_given(conds(0.4, denoise_mask=mask), "video", VIDEO[1:], comfy.Condition)
    assert changed["model_conds"]["denoise_mask"].cond[0, 0, :, 0, 0].tolist() == [0, 0, 0, -1]


def test_a_latent_of_one_stream_is_left_alone():
    """The same patched model makes a picture without sound."""
    function = patched(sync()).model_options["sampler_post_cfg_function"][0]
    denoised = torch.randn(1, 2, 3)
    assert function({"denoised": denoised, "cond": [{"model_conds": {}}]}) is denoised


class OtherWords:
    """A guidance away from what another prompt gives."""

    def passes(self, times: StepTimes, state: Any) -> list[Pass]:
        return [conditional(times), Pass("dull", times, words={"caption": "a grey picture"})]


@pytest.mark.parametrize(
    ("guidance", "settings", "words"),
    [
        (hp.Modality(), {}, "changes the network"),
        (OtherWords(), {}, "other words"),
        (sync(), {"mute": None}, "connect `mute`, or set the scale of the video to 1"),
        (sync(), {"static": None}, "connect `static`, or set the scale of the audio to 1"),
    ],
)
def test_what_cannot_be_is_said_before_sampling(guidance: Any, settings: Any, words: str):
    with pytest.raises(ValueError, match=words):
        patched(guidance, **settings)


def test_a_model_that_is_no_flow_is_refused():
    class Other(comfy.TinyAV):
        def __init__(self) -> None:
            super().__init__()
            self.model_sampling = object()

    with pytest.raises(ValueError, match="flow matching"):
        nodes.patched(comfy.Patcher(Other()), sync(), MUTE, STATIC)


def test_no_negative_prompt_is_said():
    model = patched(sync(drop=("caption",)))
    with pytest.raises(ValueError, match="negative prompt"):
        comfy.euler(model, NOISE, SIGMAS, conds(0.4))


def test_an_anchor_of_another_size_is_said():
    model = patched(sync(), mute={"samples": ANCHORS[1][:, :, :3]})
    with pytest.raises(ValueError, match="the mute sound has latents"):
        run(model)


def test_the_nodes_patch_a_copy():
    model = comfy.Patcher(comfy.TinyAV())
    (copy,) = nodes.HarmonySyncCFG.execute(model, 3.0, 2.0, 0.0, 1.0, MUTE, STATIC).results
    assert not model.model_options
    assert len(copy.model_options["sampler_post_cfg_function"]) == 1
    same(run(copy)[0], by_library(sync()))


def test_start_and_end_are_a_window():
    model = comfy.Patcher(comfy.TinyAV())
    (copy,) = nodes.HarmonySyncCFG.execute(model, 3.0, 2.0, 0.1, 0.7, MUTE, STATIC).results
    same(run(copy)[0], by_library(hp.Window(sync(), low=0.3, high=0.9)), tolerance=1e-9)


def test_a_table_names_any_guidance():
    model = comfy.Patcher(comfy.TinyAV())
    (copy,) = nodes.HarmonyGuidance.execute(model, nodes.EXAMPLE, MUTE, STATIC).results
    same(run(copy)[0], by_library(sync()))
    with pytest.raises(AssemblyError, match="sync-cfg"):
        nodes.HarmonyGuidance.execute(model, 'use = "sink-cfg"', MUTE, STATIC)


def test_every_node_is_declared():
    import asyncio

    from harmony_sync_nodes import comfy_entrypoint

    async def listed() -> list[Any]:
        return await (await comfy_entrypoint()).get_node_list()

    schemas = [node.define_schema() for node in asyncio.run(listed())]
    assert len({schema.node_id for schema in schemas}) == len(schemas) == 5
    assert all(schema.description for schema in schemas)


@pytest.mark.parametrize("file", sorted(WORKFLOWS.glob("*.json")), ids=lambda file: file.stem)
def test_workflows_are_whole(file: Path):
    """Every link leads to a node, and this pack's nodes get what they ask for."""
    graph = json.loads(file.read_text(encoding="utf-8"))
    own = {node.__name__: node.define_schema() for node in NODES}
    used = [node for node in graph.values() if node["class_type"] in own]
    assert len(used) >= 3
    links = [v for node in graph.values() for v in node["inputs"].values() if isinstance(v, list)]
    assert all(link[0] in graph for link in links)
    for node in used:
        inputs = {each.id: each for each in own[node["class_type"]].inputs}
        needed = {name for name, each in inputs.items() if not each.settings.get("optional")}
        assert needed <= set(node["inputs"]) <= set(inputs)
    consumed = {link[0] for link in links}
    assert [n for n in graph if n not in consumed] == [max(graph, key=int)]  # all lead to SaveVideo

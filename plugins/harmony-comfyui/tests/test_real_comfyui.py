"""The node on a real ComfyUI with a tiny LTX-2 of random weights: HARMONY_COMFYUI=folder.

ComfyUI's own requirements must be installed. Tried with 0.20.1, which has LTX-2's video with sound.
"""

# ruff: noqa: E402 - ComfyUI reads its settings when it is imported

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

FOLDER = os.environ.get("HARMONY_COMFYUI")
if not FOLDER:
    pytest.skip("needs HARMONY_COMFYUI, a checkout of ComfyUI", allow_module_level=True)

sys.path.insert(0, FOLDER)
sys.argv = [sys.argv[0], "--cpu"]  # read by ComfyUI when it is imported
import comfy.options

comfy.options.enable_args_parsing()
import comfy.model_base
import comfy.model_patcher
import comfy.nested_tensor
import comfy.samplers
import comfy.supported_models
import comfy.utils
from harmony_sync_nodes import nodes

WORKFLOWS = Path(__file__).parents[1] / "workflows"
TINY = {
    "image_model": "ltxav",
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 8,
    "cross_attention_dim": 32,
    "audio_cross_attention_dim": 16,
    "caption_channels": 24,
}
VIDEO, AUDIO = (1, 128, 3, 2, 2), (1, 8, 10, 16)
SIGMAS = torch.tensor([1.0, 0.7, 0.3, 0.0])


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = comfy.supported_models.LTXAV(TINY)
    base = comfy.model_base.LTXAV(config, device="cpu")
    with torch.no_grad():
        for weight in base.diffusion_model.parameters():
            weight.normal_(std=0.2)
    base.eval()
    return comfy.model_patcher.ModelPatcher(base, torch.device("cpu"), torch.device("cpu"))


def drawn(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in (VIDEO, AUDIO)]


def prompt(seed: int) -> list[Any]:
    text = torch.randn(
        1, 6, 2 * TINY["caption_channels"], generator=torch.Generator().manual_seed(seed)
    )
    return [[text, {"frame_rate": 25}]]


def sampled(patcher: Any, cfg: float, given: str = "") -> list[Tensor]:
    """KSampler's Euler, on nested latents; `given` is a stream whose mask is zeros."""
    latent, mask = drawn(2), None
    if given:
        masks = [torch.ones(VIDEO), torch.ones(AUDIO)]
        masks[("video", "audio").index(given)].zero_()
        mask = comfy.nested_tensor.NestedTensor(masks)
    else:
        latent = [torch.zeros_like(each) for each in latent]
    found = comfy.samplers.sample(
        patcher,
        comfy.nested_tensor.NestedTensor(drawn(0)),
        prompt(3),
        prompt(4),
        cfg,
        "cpu",
        comfy.samplers.sampler_object("euler"),
        SIGMAS,
        latent_image=comfy.nested_tensor.NestedTensor(latent),
        denoise_mask=mask,
        disable_pbar=True,
    )
    return list(found.unbind())


def oracle(patcher: Any, cfg: float, scales: tuple[float, float], given: str = "") -> list[Tensor]:
    """SyncCFG over the network itself, without ComfyUI's sampler: Euler by hand."""
    base = patcher.model
    mute, static = drawn(1)[1], drawn(1)[0]
    latent = drawn(2)
    x = [latent[k] if given == name else drawn(0)[k] for k, name in enumerate(("video", "audio"))]

    def velocity(streams: list[Tensor], sigmas: tuple[float, float], text: Any) -> list[Tensor]:
        """With its own time for each stream: the times of all tokens."""
        network = base.diffusion_model
        context = network.preprocess_text_embeds(text[0][0])
        tokens = [
            torch.full((1, network.patchifier.patchify(streams[0])[0].shape[1], 1), sigmas[0]),
            torch.full((1, AUDIO[2], 1), sigmas[1]),
        ]
        found = network(
            streams, tuple(tokens), context=context, frame_rate=25, transformer_options={}
        )
        return list(found)

    for high, low in pairwise(SIGMAS.tolist()):
        times = tuple(0.0 if given == name else high for name in ("video", "audio"))
        own, without = (velocity(x, times, prompt(seed)) for seed in (3, 4))
        muted = velocity([x[0], mute], (times[0], 0.0), prompt(3))
        still = velocity([static, x[1]], (0.0, times[1]), prompt(3))
        for k, (negative, scale) in enumerate(zip((muted[0], still[1]), scales, strict=True)):
            if given == ("video", "audio")[k]:
                continue
            text = without[k] + cfg * (own[k] - without[k])
            v = text + (scale - 1) * (own[k] - negative)
            x[k] = x[k] + (low - high) * v
    return x


def patched(patcher: Any, video: float, audio: float) -> Any:
    mute, static = {"samples": drawn(1)[1]}, {"samples": drawn(1)[0]}
    node = nodes.HarmonySyncCFG.execute(patcher, video, audio, 0.0, 1.0, mute, static)
    return node.result[0]


@torch.no_grad()
@pytest.mark.parametrize("given", ["", "audio", "video"])
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_it_is_the_oracle(model: Any, cfg: float, given: str):
    found = sampled(patched(model, 3.0, 2.0), cfg, given)
    for stream, expected in zip(found, oracle(model, cfg, (3.0, 2.0), given), strict=True):
        torch.testing.assert_close(stream, expected, rtol=2e-4, atol=2e-4)


@torch.no_grad()
def test_scales_of_one_change_no_bit(model: Any):
    for found, expected in zip(
        sampled(patched(model, 1.0, 1.0), 3.0), sampled(model, 3.0), strict=True
    ):
        assert torch.equal(found, expected)


def test_workflows_ask_for_what_nodes_have():
    """Of the nodes in `comfy_extras` that the workflows use, and of these."""
    import asyncio
    import json

    from comfy_extras import nodes_custom_sampler, nodes_lt, nodes_lt_audio, nodes_video

    async def classes() -> list[Any]:
        packs = [nodes.HarmonyExtension()]
        for module in (nodes_lt, nodes_lt_audio, nodes_video, nodes_custom_sampler):
            packs.append(await module.comfy_entrypoint())
        return [each for pack in packs for each in await pack.get_node_list()]

    schemas = {node.GET_SCHEMA().node_id: node.GET_SCHEMA() for node in asyncio.run(classes())}
    for file in WORKFLOWS.glob("*.json"):
        found = 0
        for node in json.loads(file.read_text(encoding="utf-8")).values():
            if node["class_type"] in schemas:
                found += 1
                inputs = schemas[node["class_type"]].inputs
                needed = {each.id for each in inputs if not each.optional}
                assert needed <= set(node["inputs"]) <= {each.id for each in inputs}, node
        assert found > 12

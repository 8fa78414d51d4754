"""The nodes. Each is a few lines over `adapter` and `anchors`."""

from __future__ import annotations

import tomllib
from typing import Any

import comfy.conds
import comfy.model_sampling
import comfy.samplers
import comfy.utils
import torch
from comfy_api.latest import ComfyExtension, io
from harmony_sync_nodes.adapter import Calls, GuidanceFunction, drops_text
from harmony_sync_nodes.anchors import mute_audio, static_video, stream_of
from torch import Tensor

from harmony_parts.assembly.tables import structure
from harmony_parts.guidance.protocol import Guidance
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.guidance.window import Window

CATEGORY = "harmony"
EXAMPLE = 'use = "sync-cfg"\nvideo = 3.0\naudio = 2.0\n'


def anchor_inputs() -> list[Any]:
    """The inputs of a guidance's anchors, which only some guidances need."""
    return [
        io.Latent.Input("mute", optional=True, tooltip="From Harmony Mute Sound."),
        io.Latent.Input("static", optional=True, tooltip="From Harmony Static Video."),
    ]


def patched(
    model: Any, guidance: Guidance, mute: dict[str, Any] | None, static: dict[str, Any] | None
) -> Any:
    """A copy of the model that is guided too. Raises ValueError if it can't be."""
    if not isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST):
        raise ValueError(
            "this model isn't one of flow matching (x_t = (1 - t) x + t n): the guidances of"
            " harmony_parts need one, such as LTX-2"
        )
    anchors: dict[str, Tensor] = {}
    if mute is not None:
        anchors["audio"] = stream_of(mute, 1)
    if static is not None:
        anchors["video"] = stream_of(static, 0)
    calls = Calls(comfy.samplers.calc_cond_batch, comfy.conds.CONDRegular)
    function = GuidanceFunction(guidance, anchors, calls)
    copy = model.clone()
    copy.set_model_sampler_post_cfg_function(
        function, disable_cfg1_optimization=drops_text(guidance)
    )
    return copy


def in_window(model: Any, guidance: Guidance, start: float, end: float) -> Guidance:
    """The guidance within a share of the steps, as ComfyUI counts them (0 noise, 1 data)."""
    if (start, end) == (0.0, 1.0):
        return guidance
    sampling = model.get_model_object("model_sampling")
    high, low = (min(1.0, float(sampling.percent_to_sigma(share))) for share in (start, end))
    return Window(guidance, low=low, high=high)


class HarmonySyncCFG(io.ComfyNode):
    """SyncCFG (arXiv:2511.21579) on top of whatever guidance by text the sampler has."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HarmonySyncCFG",
            display_name="Harmony SyncCFG",
            category=CATEGORY,
            description=(
                "Strengthens the agreement of picture and sound. The video is led away from what"
                " it would be with mute sound, the sound from what it would be with a static video."
                " Each scale other than 1 costs one more pass a step. Works with a given sound or a"
                " given video too."
            ),
            inputs=[
                io.Model.Input("model"),
                io.Float.Input(
                    "video",
                    default=3.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="Scale for the video; 1 is off, and needs no mute sound.",
                ),
                io.Float.Input(
                    "audio",
                    default=2.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="Scale for the sound; 1 is off, and needs no static video.",
                ),
                io.Float.Input("start", default=0.0, min=0.0, max=1.0, step=0.01),
                io.Float.Input("end", default=1.0, min=0.0, max=1.0, step=0.01),
                *anchor_inputs(),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        video: float,
        audio: float,
        start: float,
        end: float,
        mute: dict[str, Any] | None = None,
        static: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """The model with SyncCFG."""
        guidance = in_window(model, SyncCFG(video=video, audio=audio), start, end)
        return io.NodeOutput(patched(model, guidance, mute, static))


class HarmonyGuidance(io.ComfyNode):
    """Any guidance of harmony_parts, built in or from a plugin, as a table of a recipe."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HarmonyGuidance",
            display_name="Harmony Guidance",
            category=CATEGORY,
            description=(
                "Any guidance of harmony_parts that replaces streams or drops text, also sums and"
                " windows of them, written as in a recipe's [sample.guidance]. Without text means"
                " the negative prompt."
            ),
            inputs=[
                io.Model.Input("model"),
                io.String.Input("table", default=EXAMPLE, multiline=True),
                *anchor_inputs(),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        table: str,
        mute: dict[str, Any] | None = None,
        static: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        """The model with the guidance."""
        guidance = structure(tomllib.loads(table), Guidance, name="the table")  # type: ignore[type-abstract]
        return io.NodeOutput(patched(model, guidance, mute, static))


class HarmonyMuteSound(io.ComfyNode):
    """The latents of silence, which SyncCFG leads the video away from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HarmonyMuteSound",
            display_name="Harmony Mute Sound",
            category=CATEGORY,
            description="The sound's latents of silence, as long as those of `latent`.",
            inputs=[
                io.Vae.Input("audio_vae"),
                io.Latent.Input("latent", tooltip="The sound's latent, or that of both streams."),
            ],
            outputs=[io.Latent.Output(display_name="mute")],
        )

    @classmethod
    def execute(cls, audio_vae: Any, latent: dict[str, Any]) -> io.NodeOutput:
        """Silence as a latent."""
        latents = stream_of(latent, 1).shape[2]
        return io.NodeOutput({"samples": mute_audio(audio_vae, latents), "type": "audio"})


class HarmonyStaticVideo(io.ComfyNode):
    """The latents of a picture that stands still, which SyncCFG leads the sound away from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HarmonyStaticVideo",
            display_name="Harmony Static Video",
            category=CATEGORY,
            description="One picture, repeated as long as the video of `latent`, and encoded.",
            inputs=[
                io.Vae.Input("vae"),
                io.Image.Input(
                    "image", tooltip="The first frame, if it is given; else one like it."
                ),
                io.Latent.Input("latent", tooltip="The video's latent, or that of both streams."),
            ],
            outputs=[io.Latent.Output(display_name="static")],
        )

    @classmethod
    def execute(cls, vae: Any, image: Tensor, latent: dict[str, Any]) -> io.NodeOutput:
        """A still as a latent."""
        shape = tuple(stream_of(latent, 0).shape)
        return io.NodeOutput(
            {"samples": static_video(vae, image, shape, comfy.utils.common_upscale)}
        )


class HarmonyGiven(io.ComfyNode):
    """A sound or a video that is given: the sampler makes the other stream for it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HarmonyGiven",
            display_name="Harmony Given Stream",
            category=CATEGORY,
            description=(
                "Marks a latent as given, before it is joined with the other stream's: lips that"
                " follow this sound, or sound for this video."
            ),
            inputs=[io.Latent.Input("latent", tooltip="Of the sound or of the video.")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, latent: dict[str, Any]) -> io.NodeOutput:
        """The same latent with a mask of zeros."""
        samples = latent["samples"]
        if getattr(samples, "is_nested", False):
            raise ValueError("this latent has both streams: mark one before they are joined")
        return io.NodeOutput({**latent, "noise_mask": torch.zeros_like(samples)})


class HarmonyExtension(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes."""
        return [
            HarmonySyncCFG,
            HarmonyGuidance,
            HarmonyMuteSound,
            HarmonyStaticVideo,
            HarmonyGiven,
        ]

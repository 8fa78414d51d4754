"""A tiny random LTX-2 with the real strides, clocks and channels of sound."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from harmony_diffusers.ltx2_audio import LTX2Audio
from harmony_ltx2.denoiser import LTX2
from harmony_ltx2.text import LTX2Text
from harmony_ltx2.video import LTX2Video
from harmony_parts.av import AV, Condition, Format, Times

C = 8  # channels of a video latent
TEXT = 16

TRANSFORMER: dict[str, Any] = {
    "in_channels": C,
    "out_channels": C,
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "cross_attention_dim": 24,
    "audio_in_channels": 8,
    "audio_out_channels": 8,
    "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 8,
    "audio_cross_attention_dim": 16,
    "num_layers": 2,
    "caption_channels": TEXT,
    "rope_type": "split",
    "perturbed_attn": True,
}
"""LTX-2.0's form."""
LATER = TRANSFORMER | {
    "gated_attn": True,
    "cross_attn_mod": True,
    "audio_gated_attn": True,
    "audio_cross_attn_mod": True,
    "use_prompt_embeddings": False,
}
"""LTX-2.3's: the text isn't projected, and its modulation reads the sigmas."""
LATEST = LATER | {
    "ff_bias": False,
    "use_prompt_adaln_single": False,
    "use_keyframes_abs_pos_embedding": True,
}
"""LTX-2.5's: the time doesn't modulate the text."""
FORMS = {"2.0": TRANSFORMER, "2.3": LATER, "2.5": LATEST}
VIDEO: dict[str, Any] = {
    "latent_channels": C,
    "block_out_channels": [4, 8, 16, 32],
    "decoder_block_out_channels": [8, 16, 32],
    "layers_per_block": [1, 1, 1, 1, 1],
    "decoder_layers_per_block": [1, 1, 1, 1],
    "decoder_causal": False,
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
AUDIO: dict[str, Any] = {
    "base_channels": 8,
    "num_res_blocks": 1,
    "latent_channels": 2,
    "resolution": 32,
    "mel_bins": 16,
}
UPSAMPLER: dict[str, Any] = {"in_channels": C, "mid_channels": 32, "num_blocks_per_stage": 1}
VOCODER: dict[str, Any] = {"in_channels": 32, "hidden_channels": 32}
GEMMA: dict[str, Any] = {
    "text_config": {
        "vocab_size": 384,
        "hidden_size": TEXT,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "sliding_window": 16,
    },
    "vision_config": {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 28,
        "patch_size": 14,
    },
    "mm_tokens_per_image": 4,
}
GEMMA4: dict[str, Any] = {
    "model_type": "gemma4_unified",
    "text_config": GEMMA["text_config"]
    | {
        "num_global_key_value_heads": 1,
        "global_head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "vision_config": {"mm_embed_dim": 8, "mm_posemb_size": 8, "output_proj_dims": 8},
    "audio_config": {"audio_embed_dim": 8},
}
CONNECTORS: dict[str, Any] = {
    "caption_channels": TEXT,
    "text_proj_in_factor": 3,
    "video_connector_num_attention_heads": 2,
    "video_connector_attention_head_dim": 8,
    "video_connector_num_layers": 1,
    "video_connector_num_learnable_registers": 16,
    "audio_connector_num_attention_heads": 2,
    "audio_connector_attention_head_dim": 8,
    "audio_connector_num_layers": 1,
    "audio_connector_num_learnable_registers": 16,
    "rope_type": "split",
}
LATER_CONNECTORS = CONNECTORS | {
    "per_modality_projections": True,
    "video_hidden_dim": 24,
    "audio_hidden_dim": 16,
    "video_connector_attention_head_dim": 12,
    "video_gated_attn": True,
    "audio_gated_attn": True,
}

FORMAT = Format(fps=24, height=64, width=96, sample_rate=24000, seconds=17 / 24, channels=2)
"""17 frames: 3 latents of 2 x 3; 19 of stereo sound."""
SMALL = ["format.height=64", "format.width=96", "format.seconds=0.7", "encoders.text.length=96"]
SMALL += [f"{place}.precision=float32" for place in ("encoders.text", "denoiser")]
QUICK = ["sample.steps=2"]
"""Changes of the recipe that ships, for clips of that format and for a few steps."""


def text(**settings: Any) -> LTX2Text:
    """A tiny text encoder over bytes."""
    return LTX2Text(
        **{"config": GEMMA, "connectors_config": CONNECTORS, "precision": "float32", "length": 48}
        | settings
    )


def parts(
    config: dict[str, Any] = TRANSFORMER, format: Format = FORMAT, **settings: Any
) -> SimpleNamespace:
    """Codecs, a stub for the encoders with their conditions, and the denoiser."""
    codecs: AV[Any] = AV(
        LTX2Video(config=VIDEO).build(format=format),
        LTX2Audio(config=AUDIO, vocoder_config=VOCODER).build(format=format),
    )
    widths = (
        {"caption": TEXT, "sound": TEXT}
        if config.get("use_prompt_embeddings", True)
        else {"caption": 24, "sound": 16}
    )
    encoders = {
        "text": SimpleNamespace(produces=widths),
        "image": SimpleNamespace(produces={"image": C}),
    }
    denoiser = LTX2(**{"config": config, "precision": "float32"} | settings).build(
        codecs=codecs, encoders=encoders
    )
    return SimpleNamespace(
        codecs=codecs, denoiser=denoiser, model=denoiser.frozen.models[0], widths=widths
    )


def noise(seed: int = 0, batch: int = 1) -> AV[torch.Tensor]:
    """Random latents of a clip of `FORMAT`."""
    generator = torch.Generator().manual_seed(seed)
    return AV(
        torch.randn(batch, 3, 2, 3, C, generator=generator),
        torch.randn(batch, 19, 8, generator=generator),
    )


def conditions(
    widths: dict[str, int], seed: int = 0, batch: int = 1, length: int = 6
) -> dict[str, Condition]:
    """Texts of random tokens with null forms, without an image."""
    generator = torch.Generator().manual_seed(100 + seed)

    def said(width: int) -> Condition:
        return Condition(
            torch.randn(batch, length, width, generator=generator),
            torch.ones(batch, length, dtype=torch.bool),
        )

    made = {}
    for name, width in widths.items():
        condition, null = said(width), said(width)
        made[name] = Condition(condition.tokens, condition.mask, null)
    return made | {
        "image": picture(torch.zeros(batch, 1, 2, 3, C), torch.zeros(batch, 1, dtype=torch.bool))
    }


def picture(latents: torch.Tensor, mask: torch.Tensor) -> Condition:
    """The condition of a known first latent."""
    return Condition(latents, mask, Condition(torch.zeros_like(latents), torch.zeros_like(mask)))


def row(av: AV[torch.Tensor], number: int) -> AV[torch.Tensor]:
    """One sample of a batch."""
    return av.map(lambda x: x[number : number + 1])


def uniform(av: AV[torch.Tensor], **times: float) -> AV[Times]:
    """One time for each stream."""
    return AV(
        **{
            s: Times.uniform(
                torch.full((len(av[s]),), times[s], device=av[s].device), av[s].shape[1]
            )
            for s in av
        }
    )


def direct(
    model: Any,
    av: AV[torch.Tensor],
    said: dict[str, Condition],
    t_v: float,
    t_a: float,
    **settings: Any,
) -> AV[torch.Tensor]:
    """diffusers' result for the same inputs, called as its pipelines do, with counts for
    coordinates."""
    b, t, h, w, _ = av["video"].shape
    video, audio = (torch.full((b,), 1000 * time) for time in (t_v, t_a))
    with torch.no_grad():
        made = model(
            hidden_states=av["video"].reshape(b, t * h * w, -1),
            audio_hidden_states=av["audio"],
            encoder_hidden_states=said["caption"].tokens,
            audio_encoder_hidden_states=said["sound"].tokens,
            **{"timestep": video, "audio_timestep": audio, "sigma": video, "audio_sigma": audio}
            | settings,
            num_frames=t,
            height=h,
            width=w,
            fps=float(FORMAT.fps),
            audio_num_frames=av["audio"].shape[1],
            return_dict=False,
        )
    return AV(made[0].reshape(av["video"].shape), made[1])


def same(a: AV[torch.Tensor], b: AV[torch.Tensor], tolerance: float = 0.0) -> bool:
    """Whether both have the same streams and equal numbers."""
    return tuple(a) == tuple(b) and all(
        torch.allclose(a[s], b[s], rtol=0, atol=tolerance) for s in a
    )

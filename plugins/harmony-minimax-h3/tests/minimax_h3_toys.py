"""A tiny random MiniMax-H3 with the real strides of its codecs, and direct calls of diffusers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from diffusers import MiniMaxH3Scheduler
from diffusers.modular_pipelines.minimax_h3 import MiniMaxH3Blocks, before_denoise
from transformers import ByT5Tokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

from harmony_minimax_h3.audio import MiniMaxH3Audio
from harmony_minimax_h3.denoiser import MiniMaxH3
from harmony_minimax_h3.text import MiniMaxH3Text
from harmony_minimax_h3.video import MiniMaxH3Video
from harmony_parts.av import AV, Condition, Format, Times
from harmony_parts.testing.stand_ins import StubEncoder

C, SIDE, TEXT, LAYER = 4, 6, 16, 2
SOUND = 2 * SIDE

TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "hidden_size": 24,
    "num_layers": 2,
    "num_refiner_layers": 1,
    "ffn_dim": 32,
    "in_channels": C,
    "audio_in_channels": SIDE,
    "text_dim": TEXT,
    "freq_dim": 16,
    "time_embed_hidden_dim": 24,
    "time_embed_dim": 16,
    "rope_freq_dim": 2,
}
VIDEO: dict[str, Any] = {
    "latent_channels": C,
    "block_out_channels": [4, 4, 4, 8, 8, 8],
    "layers_per_block": 1,
    "norm_num_groups": 2,
    "decoder_num_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_attention_head_dim": 16,
    "decoder_num_register_tokens": 2,
    "latents_mean": [0.1, -0.2, 0.0, 0.3],
    "latents_std": [1.5, 0.5, 1.0, 2.0],
}
AUDIO: dict[str, Any] = {
    "encoder_dim": 2,
    "latent_dim": 12,
    "latent_channels": SIDE,
    "num_attention_heads": 2,
    "decoder_dim": 128,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 5]],
    "latents_mean": [0.1, -0.1, 0.2, 0.0, 0.3, -0.2],
    "latents_std": [0.5, 1.0, 1.5, 2.0, 0.7, 0.9],
}
QWEN: dict[str, Any] = {
    "text_config": {
        "vocab_size": 400,
        "hidden_size": TEXT,
        "intermediate_size": 24,
        "num_hidden_layers": LAYER + 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [1, 1, 2],
        },
    },
    "vision_config": {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": TEXT,
        "deepstack_visual_indexes": [0],
    },
}

FORMAT = Format(fps=24, height=32, width=64, sample_rate=32000, seconds=22 / 24, channels=2)
"""22 frames: 7 latents of 2 x 4; 37 of sound."""
LATENTS, GRID, SOUNDS = 7, (2, 4), 37
SMALL = ["format.height=32", "format.width=64", "format.seconds=0.9", "codecs.video.tile=0"]
SMALL += [f"encoders.text.layer={LAYER}"]
SMALL += [f"{p}.precision=float32" for p in ("codecs.video", "encoders.text", "denoiser")]
QUICK = ["sample.steps=2"]
"""Changes of the recipe that ships, for clips of that format and for a few steps."""


def parts(config: dict[str, Any] = TRANSFORMER, **settings: Any) -> SimpleNamespace:
    """Codecs and the denoiser, with stubs for its encoders."""
    codecs: AV[Any] = AV(
        MiniMaxH3Video(config=VIDEO).build(format=FORMAT),
        MiniMaxH3Audio(config=AUDIO).build(format=FORMAT),
    )
    encoders: Any = {"text": StubEncoder(caption=TEXT), "image": StubEncoder(image=C)}
    denoiser = MiniMaxH3(**{"config": config, "precision": "float32"} | settings).build(
        codecs=codecs, encoders=encoders
    )
    return SimpleNamespace(codecs=codecs, denoiser=denoiser, model=denoiser.frozen.models[0])


def text(**settings: Any) -> MiniMaxH3Text:
    """A tiny text encoder over bytes."""
    return MiniMaxH3Text(**{"precision": "float32", "layer": LAYER} | settings)


def noise(seed: int = 0, batch: int = 1) -> AV[torch.Tensor]:
    """Random latents of a clip of `FORMAT`."""
    generator = torch.Generator().manual_seed(seed)
    return AV(
        torch.randn(batch, LATENTS, *GRID, C, generator=generator),
        torch.randn(batch, SOUNDS, SOUND, generator=generator),
    )


def conditions(seed: int = 0, batch: int = 1, length: int = 7) -> dict[str, Condition]:
    """Texts of random tokens with null forms, the last one shorter, without an image."""
    generator = torch.Generator().manual_seed(100 + seed)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[-1, length - 2 :] = False
    said, null = (torch.randn(batch, length, TEXT, generator=generator) for _ in range(2))
    nothing = torch.zeros(batch, 1, *GRID, C), torch.zeros(batch, 1, dtype=torch.bool)
    return {"caption": Condition(said, mask, Condition(null, mask)), "image": picture(*nothing)}


def picture(latents: torch.Tensor, mask: torch.Tensor) -> Condition:
    """The condition of a known first latent."""
    return Condition(latents, mask, Condition(torch.zeros_like(latents), torch.zeros_like(mask)))


def uniform(av: AV[torch.Tensor], **times: float) -> AV[Times]:
    """One time for each stream."""
    return AV(**{s: Times.uniform(torch.full((len(av[s]),), times[s]), av[s].shape[1]) for s in av})


@torch.no_grad()
def direct(
    model: Any, av: AV[torch.Tensor], said: Condition, t_v: torch.Tensor | float, t_a: float
) -> AV[torch.Tensor]:
    """diffusers' result for each sample, with its pipeline's own layout, rows and plan of times.

    A tensor `t_v` is a time for each latent of video; the text has its highest.
    """
    at = torch.as_tensor(t_v).expand(LATENTS)
    rows = GRID[0] * GRID[1] // 4
    made = []
    for n in range(len(av["video"])):
        tokens = said.tokens[n, said.mask[n]][None]
        layout = before_denoise.MiniMaxH3PrepareLayoutStep.build_packed_sequence(
            torch.ones(tokens.shape[1], dtype=torch.long),
            *(LATENTS, *GRID, SOUNDS, (1, 2, 2), 2),
            audio_tag=2,
            video_tag=0,
        )
        positions, tags, videos, audios, texts, _, _ = layout
        of_rows = torch.full((len(tags),), float(at.max()))
        of_rows[videos] = at.repeat_interleave(rows)
        of_rows[audios] = t_a
        timestep, index = torch.unique(1 - of_rows, return_inverse=True)
        latents = av["video"][n].permute(3, 0, 1, 2)[None]
        video, audio = model(
            hidden_states=before_denoise.patchify_video_latents(latents, (1, 2, 2))[None],
            audio_hidden_states=torch.cat(list(av["audio"][n].split(SIDE, 1)))[None],
            encoder_hidden_states=tokens,
            timestep=timestep,
            timestep_indices=index,
            token_tags=tags,
            position_ids=positions,
            video_indices=videos,
            audio_indices=audios,
            text_indices=texts,
            return_dict=False,
        )
        made.append((-unpatched(video[0]), -torch.cat(list(audio[0].split(SOUNDS)), 1)))
    return AV(*(torch.stack([pair[k] for pair in made]) for k in range(2)))


def unpatched(rows: torch.Tensor) -> torch.Tensor:
    """Rows of 2 x 2 latents -> [T, h, w, C]."""
    blocks = rows.reshape(LATENTS, GRID[0] // 2, GRID[1] // 2, C, 2, 2)
    return blocks.permute(0, 1, 4, 2, 5, 3).reshape(LATENTS, *GRID, C)


def same(a: AV[torch.Tensor], b: AV[torch.Tensor], tolerance: float = 0.0) -> bool:
    """Whether both have the same streams and equal numbers."""
    return tuple(a) == tuple(b) and all(
        torch.allclose(a[s], b[s], rtol=0, atol=tolerance) for s in a
    )


def pipeline(parts: SimpleNamespace) -> Any:
    """diffusers' pipeline over the same models, for short clips of few layers of text."""
    made = MiniMaxH3Blocks().init_pipeline()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        qwen = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**QWEN))
    made.update_components(
        transformer=parts.model,
        vae=parts.codecs["video"].frozen.models[0],
        audio_vae=parts.codecs["audio"].frozen.models[0],
        text_encoder=qwen.eval(),
        tokenizer=ByT5Tokenizer(),
        scheduler=MiniMaxH3Scheduler(12.0),
        audio_scheduler=MiniMaxH3Scheduler(3.0),
    )
    tiny = {"text_encoder_layer": LAYER, "min_duration": 0.5}
    made.__class__ = type("Tiny", (type(made),), tiny)
    made.set_progress_bar_config(disable=True)
    # its tokens of text are of no other kind; a real processor needs a vocabulary of pictures
    made.processor = SimpleNamespace(
        create_mm_token_type_ids=lambda ids: [[0] * len(row) for row in ids]
    )
    return made

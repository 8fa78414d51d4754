"""A tiny random Kandinsky 6 with the real strides of the video, and direct calls of diffusers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from harmony_diffusers.hunyuan_vae import HunyuanVAE
from harmony_diffusers.mmaudio_vae import MMAudio
from harmony_kandinsky6.denoiser import Kandinsky6
from harmony_kandinsky6.text import Kandinsky6Text
from harmony_parts.av import AV, Condition, Format, Times
from harmony_parts.testing.stand_ins import StubEncoder

C, TEXT, POOLED, SOUND = 4, 16, 12, 6

PLAIN: dict[str, Any] = {
    "in_visual_dim": C,
    "out_visual_dim": C,
    "in_text_dim": TEXT,
    "in_text_dim2": POOLED,
    "time_dim": 16,
    "model_dim": 24,
    "ff_dim": 32,
    "num_text_blocks": 1,
    "num_visual_blocks": 2,
    "axes_dims": (4, 4, 4),
    "in_audio_dim": SOUND,
    "out_audio_dim": SOUND,
    "model_dim_a": 12,
    "time_dim_a": 16,
    "ff_dim_a": 16,
    "axes_dims_a": (4, 4, 4),
    "audio_freqs_scaling": 0.1,
    "visual_token_type_num_embeddings": 2,
}
"""The form of diffusers' defaults; `fix_modulation` chooses whose time modulates what is read."""
RELEASED = PLAIN | {
    "text_token_padding": True,
    "ca_rope": True,
    "cross_gates": True,
    "fix_modulation": True,
}
"""The form of the released weights, as diffusers describes it."""
VIDEO: dict[str, Any] = {
    "latent_channels": C,
    "block_out_channels": (4, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 2,
}
AUDIO: dict[str, Any] = {
    "mel_bins": 128,
    "latent_channels": SOUND,
    "hidden_channels": 8,
    "sample_rate": 44100,
    "n_fft": 2048,
    "hop_length": 512,
}
VOCODER: dict[str, Any] = {
    "num_mels": 128,
    "upsample_initial_channel": 8,
    "upsample_rates": [8, 8, 8],
    "upsample_kernel_sizes": [16, 16, 16],
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 5]],
}
QWEN: dict[str, Any] = {
    "text_config": {
        "vocab_size": 384,
        "hidden_size": TEXT,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
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
    },
}
CLIP: dict[str, Any] = {
    "vocab_size": 384,
    "hidden_size": POOLED,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": POOLED,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 1,
}

FORMAT = Format(fps=24, height=32, width=48, sample_rate=44100, seconds=17 / 24)
"""17 frames: 5 latents of 4 x 6; 31 of sound."""
FRAMES, SOUNDS = 5, 31
LENGTH = 1000  # the instruction before a text has some 900 bytes
SMALL = ["format.height=32", "format.width=48", "format.seconds=0.7"]
SMALL += [f"encoders.text.length={LENGTH}", "codecs.video.tile=0", "codecs.video.precision=float32"]
SMALL += [f"{place}.precision=float32" for place in ("encoders.text", "denoiser")]
QUICK = ["sample.steps=2"]
"""Changes of the recipe that ships, for clips of that format and for a few steps."""


def text(**settings: Any) -> Kandinsky6Text:
    """A tiny text encoder over bytes."""
    return Kandinsky6Text(
        **{"config": QWEN, "clip_config": CLIP, "precision": "float32", "length": LENGTH} | settings
    )


def parts(config: dict[str, Any] = RELEASED, **settings: Any) -> SimpleNamespace:
    """Codecs and the denoiser, with stubs for its encoders."""
    codecs: AV[Any] = AV(
        HunyuanVAE(config=VIDEO).build(format=FORMAT),
        MMAudio(form="44k", config=AUDIO, vocoder_config=VOCODER, scale=0.417).build(format=FORMAT),
    )
    encoders: Any = {
        "text": StubEncoder(caption=TEXT, pooled=POOLED),
        "image": StubEncoder(image=C),
    }
    denoiser = Kandinsky6(**{"config": config, "precision": "float32"} | settings).build(
        codecs=codecs, encoders=encoders
    )
    return SimpleNamespace(codecs=codecs, denoiser=denoiser, model=denoiser.frozen.models[0])


def noise(seed: int = 0, batch: int = 1) -> AV[torch.Tensor]:
    """Random latents of a clip of `FORMAT`."""
    generator = torch.Generator().manual_seed(seed)
    return AV(
        torch.randn(batch, FRAMES, 4, 6, C, generator=generator),
        torch.randn(batch, SOUNDS, SOUND, generator=generator),
    )


def conditions(seed: int = 0, batch: int = 1, length: int = 6) -> dict[str, Condition]:
    """Texts of random tokens with null forms, the last one shorter, without an image."""
    generator = torch.Generator().manual_seed(100 + seed)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[-1, length - 2 :] = False

    def said(n: int, width: int, valid: torch.Tensor) -> Condition:
        tokens = [torch.randn(batch, n, width, generator=generator) for _ in range(2)]
        return Condition(tokens[0], valid, Condition(tokens[1], valid))

    return {
        "caption": said(length, TEXT, mask),
        "pooled": said(1, POOLED, mask[:, :1]),
        "image": picture(torch.zeros(batch, 1, 4, 6, C), torch.zeros(batch, 1, dtype=torch.bool)),
    }


def picture(latents: torch.Tensor, mask: torch.Tensor) -> Condition:
    """The condition of a known first latent."""
    return Condition(latents, mask, Condition(torch.zeros_like(latents), torch.zeros_like(mask)))


def row(av: AV[torch.Tensor], number: int) -> AV[torch.Tensor]:
    """One sample of a batch."""
    return av.map(lambda x: x[number : number + 1])


def uniform(av: AV[torch.Tensor], **times: float) -> AV[Times]:
    """One time for each stream."""
    return AV(**{s: Times.uniform(torch.full((len(av[s]),), times[s]), av[s].shape[1]) for s in av})


def inputs(av: AV[torch.Tensor], said: dict[str, Condition]) -> dict[str, Any]:
    """The arguments of diffusers' transformer but for the timestep, as its pipeline passes them."""
    latents, mask = av["video"], said["caption"].mask
    empty = torch.zeros(*latents.shape[:-1], C + 1)
    return {
        "hidden_states": torch.cat([latents, empty], dim=-1),
        "audio_hidden_states": av["audio"],
        "encoder_hidden_states": said["caption"].tokens,
        "pooled_projections": said["pooled"].tokens[:, 0],
        "encoder_attention_mask": None if mask.all() else mask,
    }


def direct(
    model: Any, av: AV[torch.Tensor], said: dict[str, Condition], t: float, **settings: Any
) -> AV[torch.Tensor]:
    """diffusers' result at one time of both streams."""
    with torch.no_grad():
        made = model(
            **inputs(av, said) | settings,
            timestep=torch.full((len(av["video"]),), 1000 * t),
            return_dict=False,
        )
    return AV(*made)


@torch.no_grad()
def by_hand(
    model: Any, av: AV[torch.Tensor], said: dict[str, Condition], t_v: float, t_a: float
) -> AV[torch.Tensor]:
    """The model put together from diffusers' modules, with a time for each stream."""
    given = inputs(av, said)
    video, sound, tokens, pooled, mask = given.values()
    places = torch.arange(tokens.shape[1])
    embeds, texts = {}, {}
    for stream, t in (("video", t_v), ("audio", t_a)):
        module = {
            name: getattr(model, f"{stream}_{name}")
            for name in ("time_embeddings", "text_embeddings", "pooled_text_embeddings")
        }
        at = module["time_embeddings"](torch.full((len(tokens),), 1000 * t))
        embeds[stream] = at + module["pooled_text_embeddings"](pooled)
        texts[stream] = module["text_embeddings"](tokens)
        rope = getattr(model, f"{stream}_text_rope_embeddings")(places)
        for block in getattr(model, f"{stream}_text_transformer_blocks"):
            texts[stream] = block(texts[stream], embeds[stream], rope, mask)
    x, y = model.visual_embeddings(video), model.audio_embeddings(sound)
    grid = x.shape[1:4]
    of_x = model.visual_rope_embeddings([torch.arange(n) for n in grid], model.scale_factor)
    of_y = model.audio_rope_embeddings(torch.arange(sound.shape[1]))
    x = x.flatten(1, 3)
    for block in model.visual_transformer_blocks:
        x, y = block(
            x,
            y,
            texts["video"],
            texts["audio"],
            (embeds["video"], embeds["audio"]),
            of_x.flatten(0, 2),
            of_y,
            mask,
        )
    return AV(
        model.out_layer(x.unflatten(1, grid), embeds["video"]),
        model.audio_out_layer(y, embeds["audio"]),
    )


def same(a: AV[torch.Tensor], b: AV[torch.Tensor], tolerance: float = 0.0) -> bool:
    """Whether both have the same streams and equal numbers."""
    return tuple(a) == tuple(b) and all(
        torch.allclose(a[s], b[s], rtol=0, atol=tolerance) for s in a
    )

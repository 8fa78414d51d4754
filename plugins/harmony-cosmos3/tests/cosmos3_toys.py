"""A tiny random Cosmos3-Omni with the real strides of its codecs, and direct calls of diffusers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from diffusers import Cosmos3OmniPipeline, UniPCMultistepScheduler
from transformers import ByT5Tokenizer

from harmony_cosmos3.audio import Cosmos3Audio
from harmony_cosmos3.denoiser import Cosmos3
from harmony_diffusers.wan_vae import WanVAE
from harmony_parts.av import AV, Condition, Format, Times
from harmony_parts.testing.stand_ins import StubEncoder

C, SOUND = 4, 6

TRANSFORMER: dict[str, Any] = {
    "head_dim": 16,
    "hidden_size": 32,
    "intermediate_size": 48,
    "latent_channel": C,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "num_key_value_heads": 1,
    "patch_latent_dim": 4 * C,
    "rope_axes_dim": [4, 2, 2],
    "sound_dim": SOUND,
    "sound_gen": True,
    "vocab_size": 400,
}
VIDEO: dict[str, Any] = {
    "base_dim": 4,
    "decoder_base_dim": 4,
    "z_dim": C,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [False, True, True],
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
    "scale_factor_temporal": 4,
    "latents_mean": [0.1, -0.2, 0.0, 0.3],
    "latents_std": [1.5, 0.5, 1.0, 2.0],
}
AUDIO: dict[str, Any] = {
    "vocoder_input_dim": SOUND,
    "dec_dim": 2,
    "dec_c_mults": [1, 1, 1, 1, 1],
    "enc_dim": 4,
    "enc_num_blocks": 1,
    "enc_latent_dim": 2 * SOUND,
    "enc_c_mults": [1, 1, 1],
}
SCHEDULER: dict[str, Any] = {
    "prediction_type": "flow_prediction",
    "use_flow_sigmas": True,
    "flow_shift": 5.0,
}

FORMAT = Format(fps=24, height=32, width=48, sample_rate=48000, seconds=17 / 24, channels=2)
"""17 frames: 5 latents of 2 x 3; 18 of sound."""
FRAMES, GRID, SOUNDS = 5, (2, 3), 18
SMALL = ["format.height=32", "format.width=48", "format.seconds=0.7", "codecs.video.tile=0"]
SMALL += [f"{place}.precision=float32" for place in ("codecs.video", "denoiser")]
QUICK = ["sample.steps=2"]
"""Changes of the recipe that ships, for clips of that format and for a few steps."""


class Whole(UniPCMultistepScheduler):
    """diffusers' scheduler, but for cutting the times that the model gets to whole thousandths."""

    def set_timesteps(self, *args: Any, **settings: Any) -> None:
        super().set_timesteps(*args, **settings)
        self.timesteps = self.sigmas[:-1] * 1000


def parts(config: dict[str, Any] = TRANSFORMER, **settings: Any) -> SimpleNamespace:
    """Codecs and the denoiser, with stubs for its encoders."""
    codecs: AV[Any] = AV(
        WanVAE(config=VIDEO).build(format=FORMAT), Cosmos3Audio(config=AUDIO).build(format=FORMAT)
    )
    encoders: Any = {"text": StubEncoder(caption=1), "image": StubEncoder(image=C)}
    denoiser = Cosmos3(**{"config": config, "precision": "float32"} | settings).build(
        codecs=codecs, encoders=encoders
    )
    return SimpleNamespace(codecs=codecs, denoiser=denoiser, model=denoiser.frozen.models[0])


def noise(seed: int = 0, batch: int = 1) -> AV[torch.Tensor]:
    """Random latents of a clip of `FORMAT`."""
    generator = torch.Generator().manual_seed(seed)
    return AV(
        torch.randn(batch, FRAMES, *GRID, C, generator=generator),
        torch.randn(batch, SOUNDS, SOUND, generator=generator),
    )


def conditions(seed: int = 0, batch: int = 1, length: int = 7) -> dict[str, Condition]:
    """Texts of random tokens with null forms, the last one shorter, without an image."""
    generator = torch.Generator().manual_seed(100 + seed)
    mask = torch.ones(batch, length, dtype=torch.bool)
    mask[-1, length - 2 :] = False
    said, null = (
        torch.randint(0, 400, (batch, length, 1), generator=generator).float() for _ in range(2)
    )
    nothing = torch.zeros(batch, 1, *GRID, C), torch.zeros(batch, 1, dtype=torch.bool)
    return {"caption": Condition(said, mask, Condition(null, mask)), "image": picture(*nothing)}


def picture(latents: torch.Tensor, mask: torch.Tensor) -> Condition:
    """The condition of a known first latent."""
    return Condition(latents, mask, Condition(torch.zeros_like(latents), torch.zeros_like(mask)))


def row(av: AV[torch.Tensor], number: int) -> AV[torch.Tensor]:
    """One sample of a batch."""
    return av.map(lambda x: x[number : number + 1])


def uniform(av: AV[torch.Tensor], **times: float) -> AV[Times]:
    """One time for each stream."""
    return AV(**{s: Times.uniform(torch.full((len(av[s]),), times[s]), av[s].shape[1]) for s in av})


@torch.no_grad()
def direct(
    model: Any,
    av: AV[torch.Tensor],
    said: Condition,
    t_v: float | torch.Tensor,
    t_a: float | torch.Tensor,
) -> AV[torch.Tensor]:
    """diffusers' result for each sample, with its pipeline's own segments.

    A time above 0 is that of all latents; a stream at 0, or a latent in a tensor of times, is left
    out of the noisy ones.
    """
    pipeline = SimpleNamespace(transformer=model, vae_scale_factor_temporal=4)
    made = []
    for n in range(len(av["video"])):
        ids = said.tokens[n, said.mask[n], 0].long().tolist()
        video, sound = av["video"][n].permute(3, 0, 1, 2)[None], av["audio"][n].T
        text = Cosmos3OmniPipeline._prepare_text_segment(pipeline, ids, "cpu")
        begin = text["vision_start_temporal_offset"]
        at_v, at_a = (
            torch.as_tensor(t).expand(length) for t, length in ((t_v, FRAMES), (t_a, SOUNDS))
        )
        vision = Cosmos3OmniPipeline._prepare_vision_segment(
            pipeline,
            video,
            False,
            begin,
            24.0,
            len(ids),
            "cpu",
            condition_frame_indexes=(at_v == 0).nonzero()[:, 0].tolist(),
        )
        heard = Cosmos3OmniPipeline._prepare_sound_segment(
            pipeline, sound, begin, 25.0, len(ids) + vision["num_vision_tokens"], "cpu"
        )
        if not at_a.any():
            nothing = torch.zeros(0, dtype=torch.long)
            heard |= {"sound_mse_loss_indexes": nothing, "sound_noisy_frame_indexes": [nothing]}
        places = [text.pop("text_mrope_ids"), vision.pop("vision_mrope_ids")]
        places.append(heard.pop("sound_mrope_ids"))
        tokens = vision.pop("num_noisy_vision_tokens") // max(1, int((at_v > 0).sum()))
        for unused in ("num_vision_tokens", "sound_len", "vision_start_temporal_offset"):
            for segment in (text, vision, heard):
                segment.pop(unused, None)
        positions = torch.cat(places, dim=1)
        made.append(
            model(
                **text,
                **vision,
                **heard,
                position_ids=positions,
                sequence_length=positions.shape[1],
                vision_tokens=[video],
                sound_tokens=[sound],
                vision_timesteps=1000 * at_v[at_v > 0].repeat_interleave(tokens),
                sound_timesteps=1000 * at_a[at_a > 0],
                return_dict=False,
            )
        )
    return AV(
        torch.cat([video[0].permute(0, 2, 3, 4, 1) for video, _, _ in made]),
        torch.stack([sound[0].T for _, sound, _ in made]),
    )


def same(a: AV[torch.Tensor], b: AV[torch.Tensor], tolerance: float = 0.0) -> bool:
    """Whether both have the same streams and equal numbers."""
    return tuple(a) == tuple(b) and all(
        torch.allclose(a[s], b[s], rtol=0, atol=tolerance) for s in a
    )


def tokenizer() -> ByT5Tokenizer:
    """Bytes, with a template for conversations."""
    made = ByT5Tokenizer()
    made.add_tokens(["<|vision_start|>"])
    made.chat_template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}:"
    return made


def pipeline(parts: SimpleNamespace) -> Cosmos3OmniPipeline:
    """diffusers' pipeline over the same models."""
    made = Cosmos3OmniPipeline(
        transformer=parts.model,
        text_tokenizer=tokenizer(),
        vae=parts.codecs["video"].frozen.models[0],
        scheduler=UniPCMultistepScheduler(**SCHEDULER),
        sound_tokenizer=parts.codecs["audio"].frozen.models[0],
        enable_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made

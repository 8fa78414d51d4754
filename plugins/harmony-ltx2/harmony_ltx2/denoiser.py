"""LTX-2's transformer as a denoiser, through diffusers' LTX2VideoTransformer3DModel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from harmony_diffusers.frozen import (
    Frozen,
    FrozenModule,
    Precision,
    config_knob,
    diffusers_model,
    model_knob,
    precision_knob,
    revision_knob,
    saved_form,
    subfolder_knob,
)
from harmony_diffusers.joint import Joint
from harmony_ltx2.kept_text import KeptText, changes_with_time
from harmony_ltx2.text import CONDITIONS
from harmony_parts.av import AV, STREAMS, Condition, Conditions, Times
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.denoisers.known_latents import lead, paste
from harmony_parts.denoisers.protocol import KNOWN_LATENTS, Port
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.errors import AssemblyError
from harmony_parts.plugin import knob

JOINT = Joint(
    "LTX-2",
    ports={
        **{CONDITIONS[stream]: Port(stream, "context") for stream in STREAMS},
        "image": KNOWN_LATENTS,
    },
    texts={CONDITIONS[stream]: f"the text of the {stream}" for stream in STREAMS},
    encoder="ltx2-text",
)
"""Its needs: a text for each stream, and optionally the image that the video begins with."""

CrossTimestep = Literal["auto", "other", "own"]


@attrs.frozen
class LTX2:
    """The frozen transformer of LTX-2: latents of both streams, at their own times -> velocities.

    Its times are this library's: 0 is data, 1 is noise, velocity n - x. Its timestep input is 1000
    times the time (per latent if they differ), its sigma input 1000 times the stream's highest
    time, so a given stream has time 0 and sigma 0. Positions of latents are from the codecs'
    clocks. Hints: `isolate`, no exchange between the streams (`isolate_modalities`), and, if the
    configuration has `perturbed_attn`, `skip-N`: the self-attention of block N is replaced by its
    values (spatio-temporal guidance). 18.9 G parameters, 38 GB in bfloat16. Source:
    arXiv:2601.03233. The weights are under the LTX-2 Community License: read it before use.
    """

    model: str = model_knob("Lightricks/LTX-2")
    subfolder: str = subfolder_knob("transformer", "transformer")
    revision: str = revision_knob()
    config: dict[str, Any] = config_knob("diffusers.LTX2VideoTransformer3DModel")
    precision: Precision = precision_knob("bfloat16")
    cross_timestep: CrossTimestep = knob(
        "auto",
        help=(
            "the stream whose time modulates the cross-attention between streams: `other` (LTX-2.3"
            " and later) or `own` (LTX-2.0); `auto`: from the weights' configuration"
        ),
        source="use_cross_timestep of diffusers; it matters if the streams' times differ",
        validator=attrs.validators.in_(("auto", "other", "own")),
    )
    keep_text: bool = knob(
        False,
        help=(
            "make the keys and values of the text once instead of in every step (LTX-2.0 and 2.5):"
            " fewer operations, 2 % of 121 frames of 512 x 768 and 37 % of 25 frames of 256 x 256,"
            " for 1.2 GB per text in bfloat16"
        ),
        off=False,
        source="use_prompt_adaln_single of diffusers",
    )

    def build(
        self, *, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> LTX2Denoiser:
        """The denoiser.

        Raises ValueError if the weights can't be loaded, AssemblyError if codecs or encoders don't
        match them.
        """
        return LTX2Denoiser(self, codecs, encoders)


class LTX2Denoiser(FrozenModule):
    """The denoiser of `LTX2`; its `state_dict()` is empty, since the weights are external."""

    accepts: Mapping[str, Port]
    hints: frozenset[str]
    blocks: Sequence[torch.nn.Module] = ()  # its weights are external modules

    def __init__(
        self, spec: LTX2, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
    ) -> None:
        from diffusers import LTX2VideoTransformer3DModel

        super().__init__()
        self.codecs = codecs
        # without a folder diffusers' defaults, which are LTX-2.0
        full = saved_form(LTX2VideoTransformer3DModel, spec.model, spec.subfolder)
        model = diffusers_model(
            LTX2VideoTransformer3DModel,
            full,
            spec.config,
            spec.precision,
            spec.model,
            spec.subfolder,
            spec.revision,
        )
        self.frozen = Frozen(model)
        self._scale: int = model.config.timestep_scale_multiplier
        self.accepts = _accepts(model.config, codecs, encoders)
        blocks = range(model.config.num_layers) if model.config.perturbed_attn else ()
        self._skips = {f"skip-{n}": n for n in blocks}
        self.hints = frozenset({"isolate", *self._skips})
        if spec.keep_text and changes_with_time(model.config):
            raise AssemblyError(
                "$.denoiser.keep_text: in these weights the time changes keys and values of the"
                " text (use_prompt_adaln_single, LTX-2.3), so they can't be kept: remove keep_text"
            )
        self._keeps = KeptText(model) if spec.keep_text else None
        later = model.config.cross_attn_mod or model.config.audio_cross_attn_mod
        self._other = later if spec.cross_timestep == "auto" else spec.cross_timestep == "other"

    def forward(
        self,
        av: AV[Tensor],
        times: AV[Times],
        conditions: Conditions,
        *,
        hints: Collection[str] = (),
        read: Collection[str] = STREAMS,
        cache: MutableMapping[str, Any] | None = None,
    ) -> AV[Tensor]:
        """Noisy latents -> velocities of the streams in `read`, in the latents' type.

        Both streams are always computed.
        """
        JOINT.check(av, conditions, hints, accepts=self.accepts, supports=self.hints)
        known = self._known(conditions)
        noisy, at = av, times
        if known is not None:
            latents, clean = paste(av["video"], times["video"], known)
            av, at = av.replace(video=latents), times.replace(video=clean)
        (text, text_mask), (sound, sound_mask) = (
            self._text(CONDITIONS[s], conditions, cache) for s in STREAMS
        )
        positions = self._positions(av)
        sigma = times.map(lambda t: t.per_latent().amax(1) * self._scale)
        timestep = at.map(self._timestep, av)
        with self._keeps.over(cache) if self._keeps else nullcontext():
            video, audio = self._model(
                hidden_states=av["video"].flatten(1, 3).to(self.frozen.dtype),
                audio_hidden_states=av["audio"].to(self.frozen.dtype),
                encoder_hidden_states=text,
                audio_encoder_hidden_states=sound,
                timestep=timestep["video"],
                audio_timestep=timestep["audio"],
                sigma=sigma["video"],
                audio_sigma=sigma["audio"],
                encoder_attention_mask=text_mask,
                audio_encoder_attention_mask=sound_mask,
                video_coords=positions["video"],
                audio_coords=positions["audio"],
                isolate_modalities="isolate" in hints,
                spatio_temporal_guidance_blocks=sorted(
                    self._skips[hint] for hint in hints if hint in self._skips
                ),
                use_cross_timestep=self._other,
                return_dict=False,
            )
        made = AV(video.unflatten(1, av["video"].shape[1:4]), audio).map(
            lambda v, x: v.to(x.dtype), av
        )
        if known is not None:
            made = made.replace(video=lead(made["video"], noisy["video"], times["video"], known))
        return made.only(read)

    @property
    def _model(self) -> Any:
        return self.frozen.models[0]

    def _timestep(self, times: Times, latents: Tensor) -> Tensor:
        """[B] if each sample has one time, else [B, tokens]."""
        if times.values.shape[1] == 1:
            return times.values[:, 0] * self._scale
        tokens = latents[0, 0, ..., 0].numel()
        return times.per_latent().repeat_interleave(tokens, dim=1) * self._scale

    def _positions(self, av: AV[Tensor]) -> AV[Tensor]:
        """Start and end of tokens: video [B, 3, T h w, 2] (s, pixels), audio [B, 1, T, 2] (s)."""
        (b, t, h, w), device = av["video"].shape[:4], av["video"].device
        clocks = av.map(
            lambda x, codec: codec.clock(x.shape[1]).to(device, torch.float32), self.codecs
        )
        video = self._model.rope.prepare_video_coords(b, t, h, w, device)
        video[:, 0] = clocks["video"].repeat_interleave(h * w, dim=0)
        return AV(video, clocks["audio"].expand(b, 1, -1, -1))

    def _text(
        self, name: str, conditions: Conditions, cache: MutableMapping[str, Any] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens and mask; no mask if it is all True, since attention is faster without one."""
        cache = {} if cache is None else cache
        if name not in cache:
            mask = conditions[name].mask
            cache[name] = (
                conditions[name].tokens.to(self.frozen.dtype),
                (None if mask.is_meta or mask.all() else mask),
            )
        text: tuple[Tensor, Tensor | None] = cache[name]
        return text

    def _known(self, conditions: Conditions) -> Condition | None:
        """The image that the video begins with; `None` if no sample has one (one time each)."""
        known: Condition | None = conditions["image"] if "image" in self.accepts else None
        return (
            known if known is not None and (known.mask.is_meta or bool(known.mask.any())) else None
        )


def _accepts(
    config: Any, codecs: AV[VideoCodec | AudioCodec], encoders: Mapping[str, Encoder]
) -> dict[str, Port]:
    """The port of each condition. Raises AssemblyError with all mismatches."""
    channels = AV(config.in_channels, config.audio_in_channels)
    widths = AV(config.cross_attention_dim, config.audio_cross_attention_dim)
    if config.use_prompt_embeddings:  # LTX-2.0 projects the text itself
        widths = AV(config.caption_channels, config.caption_channels)
    patches = {
        config.patch_size,
        config.patch_size_t,
        config.audio_patch_size,
        config.audio_patch_size_t,
    }
    return JOINT.accepts(
        channels,
        {CONDITIONS[s]: widths[s] for s in STREAMS} | {"image": channels["video"]},
        codecs,
        encoders,
        ["only one token per latent is supported, but the configuration has patches"]
        if patches != {1}
        else (),
    )

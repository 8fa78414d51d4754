"""A voice or sound whose timbre the clip takes, as latents of the audio codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec
from harmony_parts.errors import AssemblyError
from harmony_parts.plugin import knob


@attrs.frozen
class ReferenceAudio:
    """Prompt.voice float32 [channels, samples] -> condition "voice", the audio codec's latents z_r.

    Its tokens are [B, R, C], its mask [B, R]. R is that of the batch's longest voice (1 without
    any); each is encoded by itself, so padding can't change it. An absent voice is zeros with mask
    False, which is also the null form. It has no weights and passes no gradient. Raises
    AssemblyError without an audio codec, and ValueError if a voice isn't float32 [channels,
    samples] with the format's channels, is empty or isn't finite.
    """

    seconds_max: float = knob(
        3.0,
        help="only the first seconds of a voice are used",
        unit="s",
        source="Harmony, arXiv:2511.21579: references of 1-3 s",
        validator=attrs.validators.gt(0),
    )

    def build(
        self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]
    ) -> ReferenceAudioEncoder:
        """The encoder, which uses the model's own audio codec."""
        if codecs.audio is None:
            raise AssemblyError(
                "a reference voice needs an audio codec; add $.codecs.audio, or remove this encoder"
            )
        return ReferenceAudioEncoder(
            max(1, round(self.seconds_max * format.sample_rate)), cast(AudioCodec, codecs.audio)
        )


class ReferenceAudioEncoder(nn.Module):
    """The encoder of `ReferenceAudio`."""

    produces: Mapping[str, int]
    home: Tensor

    def __init__(self, samples_max: int, codec: AudioCodec) -> None:
        super().__init__()
        self.samples_max = samples_max
        # In a tuple, so that torch doesn't register the codec as a submodule and save its weights
        # twice.
        self.codecs = (codec,)
        self.produces = {"voice": codec.channels}
        self.register_buffer("home", torch.zeros(()), persistent=False)  # the device of its output

    @torch.no_grad()
    def forward(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """{"voice": tokens [B, R, C], mask [B, R]}."""
        (codec,) = self.codecs
        voices: dict[int, Tensor] = {}
        for row, prompt in enumerate(prompts):
            if prompt.voice is not None:
                voice = self._checked(prompt.voice, row)[:, : self.samples_max]
                voices[row] = codec.encode(voice[None].to(self.home.device))[0].to(self.home)
        longest = max((len(latents) for latents in voices.values()), default=1)
        null = self.home.new_zeros(len(prompts), longest, codec.channels)
        empty = torch.zeros(null.shape[:2], dtype=torch.bool, device=null.device)
        tokens, mask = null.clone(), empty.clone()
        for row, latents in voices.items():
            tokens[row, : len(latents)] = latents
            mask[row, : len(latents)] = True
        return {"voice": Condition(tokens, mask, Condition(null, empty))}

    def _checked(self, voice: object, row: int) -> Tensor:
        if not isinstance(voice, Tensor):
            raise ValueError(
                f"the voice of prompt {row} must be a torch tensor float32 [channels, samples], not"
                f" {type(voice).__name__}"
            )
        channels, shape = self.codecs[0].sound_channels, voice.shape
        right = len(shape) == 2 and shape[0] == channels and shape[1] >= 1
        if voice.dtype != torch.float32 or not right:
            want = f"float32 [{channels}, samples] with at least one sample"
            raise ValueError(
                f"the voice of prompt {row} must be {want}, not {voice.dtype} {list(voice.shape)}"
            )
        if not voice.isfinite().all():
            raise ValueError(
                f"the voice of prompt {row} has samples that aren't finite; read it again from its"
                " file"
            )
        return voice

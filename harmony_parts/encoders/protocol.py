"""An encoder maps a field of the prompts to named conditions, each with its null form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from harmony_parts.av import AV, Condition, Format, Prompt
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec


class Encoder(Protocol):
    """A torch module; `produces`: condition name -> width of its tokens (channels of latents).

    It may have `external_modules` (`HasExternalModules`): modules that it uses without owning their
    weights, which are neither trained nor saved with it.
    """

    produces: Mapping[str, int]

    def __call__(self, prompts: Sequence[Prompt]) -> dict[str, Condition]:
        """A condition per name, with `null`, a row for each of the prompts.

        The row of a prompt whose field is `None` is the null form.
        """


class EncoderSpec(Protocol):
    """Settings of an encoder."""

    def build(self, *, format: Format, codecs: AV[VideoCodec | AudioCodec]) -> Encoder:
        """The encoder; one whose tokens are latents computes them with the model's own codecs.

        On the meta device (`with torch.device("meta")`) it has shapes only, and reads no file of
        weights.
        """

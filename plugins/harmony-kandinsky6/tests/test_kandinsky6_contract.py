"""The contract of denoisers, kept by both forms of Kandinsky 6."""

from __future__ import annotations

from typing import Any

import kandinsky6_toys as toys
import pytest

from harmony_kandinsky6.denoiser import Kandinsky6
from harmony_parts.av import AV
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

CODECS: AV[Any] = AV(StubCodec(toys.C, (4, 6), 6.0), StubCodec(toys.SOUND, (), 31.25))


@pytest.mark.parametrize("form", ["plain", "released"])
def test_it_keeps_the_contract(form: str) -> None:
    """With one time for each stream, and without an image, which isn't put in a latent's place."""
    check_denoiser(
        Kandinsky6(
            config={"plain": toys.PLAIN, "released": toys.RELEASED}[form], precision="float32"
        ),
        codecs=CODECS,
        encoders={"text": StubEncoder(caption=toys.TEXT, pooled=toys.POOLED)},
        latents=AV(3, 9),
        one_time=True,
    )

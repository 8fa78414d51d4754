"""The contract of denoisers, kept by all forms of LTX-2."""

from __future__ import annotations

from typing import Any

import ltx2_toys as toys
import pytest

from harmony_ltx2.denoiser import LTX2
from harmony_parts.av import AV
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

FIRST, LATER = StubEncoder(caption=toys.TEXT, sound=toys.TEXT), StubEncoder(caption=24, sound=16)
CODECS: AV[Any] = AV(StubCodec(toys.C, (2, 3), 3.0), StubCodec(8, (), 25.0))


@pytest.mark.parametrize(
    ("form", "precision", "keep"),
    [
        ("2.0", "float32", False),
        ("2.3", "float32", False),
        ("2.3", "bfloat16", False),
        ("2.5", "bfloat16", True),
    ],
)
def test_it_keeps_the_contract(form: str, precision: Any, keep: bool) -> None:
    text = FIRST if form == "2.0" else LATER
    check_denoiser(
        LTX2(config=toys.FORMS[form], precision=precision, keep_text=keep),
        codecs=CODECS,
        encoders={"text": text, "image": StubEncoder(image=toys.C)},
        latents=AV(3, 9),
    )

"""The contract of denoisers, kept by both forms of LTX-2."""

from __future__ import annotations

from typing import Any

import ltx2_toys as toys
import pytest

from harmony_ltx2.denoiser import LTX2
from harmony_parts.av import AV
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.stand_ins import StubCodec, StubEncoder

FORMS = {
    "2.0": (toys.TRANSFORMER, StubEncoder(caption=toys.TEXT, sound=toys.TEXT)),
    "2.3": (toys.LATER, StubEncoder(caption=24, sound=16)),
}
CODECS: AV[Any] = AV(StubCodec(toys.C, (2, 3), 3.0), StubCodec(8, (), 25.0))


@pytest.mark.parametrize(
    ("form", "precision"), [("2.0", "float32"), ("2.3", "float32"), ("2.3", "bfloat16")]
)
def test_it_keeps_the_contract(form: str, precision: Any) -> None:
    config, text = FORMS[form]
    encoders: Any = {"text": text, "image": StubEncoder(image=toys.C)}
    check_denoiser(
        LTX2(config=config, precision=precision), codecs=CODECS, encoders=encoders, latents=AV(3, 9)
    )

"""Converting the weights of other projects to model folders, and back."""

from __future__ import annotations

from harmony_parts.convert.back import convert_back
from harmony_parts.convert.forward import convert
from harmony_parts.convert.report import Report, TensorRecord

__all__ = ["Report", "TensorRecord", "convert", "convert_back"]

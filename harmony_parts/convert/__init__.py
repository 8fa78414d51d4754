"""Weights of other projects to this library's and back."""

from __future__ import annotations

from harmony_parts.convert.back import convert_back
from harmony_parts.convert.forward import convert
from harmony_parts.convert.report import Entry, Report

__all__ = ["Entry", "Report", "convert", "convert_back"]

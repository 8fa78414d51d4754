"""A tiny recipe."""

from __future__ import annotations

from helpers.command_line import recipe

__all__ = ["recipe"]

"""The command line with a tiny trained model, and a media file."""

from __future__ import annotations

from helpers.command_line import harmony, recipe, trained
from helpers.media_files import flash

__all__ = ["flash", "harmony", "recipe", "trained"]

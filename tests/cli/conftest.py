"""The command line with a tiny trained model, and media files to give it."""

from __future__ import annotations

from helpers.command_line import harmony, recipe, trained
from helpers.media_files import click_sound, flash

__all__ = ["click_sound", "flash", "harmony", "recipe", "trained"]

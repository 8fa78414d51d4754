"""The command line with a tiny trained model, beside Python."""

from __future__ import annotations

from helpers.command_line import harmony, recipe, trained
from helpers.media_files import click_sound, flash

__all__ = ["click_sound", "flash", "harmony", "recipe", "trained"]

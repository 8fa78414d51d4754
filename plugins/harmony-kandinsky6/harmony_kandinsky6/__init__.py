"""Kandinsky 6 for harmony-parts, through diffusers."""

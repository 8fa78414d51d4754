"""LTX-2 for harmony-parts, through diffusers."""

"""Cosmos3-Omni for harmony-parts, through diffusers."""

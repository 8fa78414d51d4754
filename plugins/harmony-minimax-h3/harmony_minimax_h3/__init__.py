"""MiniMax-H3 for harmony-parts, through diffusers."""

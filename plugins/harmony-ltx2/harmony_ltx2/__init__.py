"""LTX-2 for harmony-parts, through diffusers. `hooks` declares its parts; one file is one part."""

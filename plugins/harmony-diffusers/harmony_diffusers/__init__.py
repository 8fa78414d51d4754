"""Pre-trained codecs and text encoders for harmony-parts, through diffusers and transformers."""

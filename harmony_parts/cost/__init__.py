"""Parameters, FLOPs and memory of a model, counted by running the denoiser on the meta device."""

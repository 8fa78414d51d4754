"""What a model costs: parameters, arithmetic and memory, counted by running the real denoiser on
the meta device, which computes shapes alone.
"""

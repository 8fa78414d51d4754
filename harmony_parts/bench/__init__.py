"""Scores of a model, or of a folder of anybody's clips: `harmony bench`."""

"""The sound that an autoencoder can take."""

from __future__ import annotations

from harmony_parts.av import Format


def check_sound(format: Format, rate: int, sides: int) -> None:
    """Raise ValueError if the format isn't mono or of `sides` channels, at `rate` Hz."""
    if format.sample_rate != rate:
        raise ValueError(
            f"the sound is at {format.sample_rate} Hz, but this autoencoder is for {rate} Hz: set"
            " format.sample_rate to that"
        )
    if format.channels not in (1, sides):
        raise ValueError(
            f"the format has {format.channels} channels of sound, the autoencoder {sides}: set"
            " format.channels to that, or to 1 for their mean"
        )

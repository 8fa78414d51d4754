"""A shift for each stream."""

from __future__ import annotations

import attrs

from harmony_parts.av import AV
from harmony_parts.flow.protocol import Shift
from harmony_parts.plugin import knob


@attrs.frozen
class StreamShifts:
    """A shift for each stream: t_video = video(u) and t_audio = audio(u) of the same unshifted u.

    Both streams begin at noise and reach the data together, along their own times. Two equal shifts
    are the same as one shift.
    """

    video: Shift = knob(
        help="moves the video's times towards noise or data",
        source="MiniMax-H3: 12",
        validator=attrs.validators.is_callable(),
    )
    audio: Shift = knob(
        help="moves the audio's times towards noise or data",
        source="MiniMax-H3: 3",
        validator=attrs.validators.is_callable(),
    )


def shifts_of_streams(shift: Shift | StreamShifts) -> AV[Shift]:
    """The shift of each stream; a single shift is that of both."""
    if isinstance(shift, StreamShifts):
        return AV(shift.video, shift.audio)
    return AV(shift, shift)

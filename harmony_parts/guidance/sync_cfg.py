"""SyncCFG: guidance by the other stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor
from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import active, lead_away, scale
from harmony_parts.plugin import default_part, knob

# For each stream that is made: the anchor (a field, and the name of the pass), and the stream whose
# place it takes.
NEGATIVE = {"video": ("mute", "audio"), "audio": ("static", "video")}


def _for_stream(stream: str) -> Any:
    def check(spec: Any, field: attrs.Attribute[Any], anchor: Anchor) -> None:
        if anchor.stream != stream:
            raise ValueError(
                f"{field.name} must be an anchor for the {stream} stream; {anchor!r} is one for"
                f" {anchor.stream}"
            )

    return check


@attrs.frozen
class SyncCFG:
    """Strengthens the agreement between the streams (arXiv:2511.21579, SyncCFG):

        v_video = v_video(x_a = mute)   + s_video (v_video - v_video(x_a = mute))
        v_audio = v_audio(x_v = static) + s_audio (v_audio - v_audio(x_v = static))

    where the anchors go in clean, at time 0. A driven task is the same with the given stream
    replaced by its anchor. A scale of 1 is off, 0 gives the negative. Each scale that isn't 1 costs
    one pass, which reads one stream. Without the other stream there is nothing to agree with, and
    the scale does nothing.
    """

    video: float = scale(
        3.0, help="scale of the video's velocity", source="arXiv:2511.21579, s_v = 3"
    )
    audio: float = scale(
        2.0, help="scale of the audio's velocity", source="arXiv:2511.21579, s_a = 2"
    )
    mute: Anchor = knob(
        default_part("harmony_parts.anchors.mute:MuteAudio"),
        help="the sound that says nothing about the video",
        validator=_for_stream("audio"),
    )
    static: Anchor = knob(
        default_part("harmony_parts.anchors.static:StaticVideo"),
        help="the video that says nothing about the sound",
        validator=_for_stream("video"),
    )
    drop: tuple[str, ...] = knob(
        (),
        help=(
            "names of the conditions that the negatives go without; the paper doesn't say, so none"
        ),
        off=(),
        converter=tuple,
    )

    def _active(self, times: StepTimes) -> list[str]:
        present = tuple(times.present())
        return [stream for stream in active(self, times) if NEGATIVE[stream][1] in present]

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The task's own pass, and one with the mute sound or the static video for each active
        stream.
        """
        asked = [conditional(times)]
        for stream in self._active(times):
            name, other = NEGATIVE[stream]
            anchor: Anchor = getattr(self, name)
            needs = (CONDITIONAL,) if anchor.from_estimate else ()
            asked.append(
                Pass(
                    name,
                    times,
                    replace={other: anchor},
                    drop=self.drop,
                    read=(stream,),
                    needs=needs,
                )
            )
        return asked

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """From each negative through the task's own prediction."""
        return (
            lead_away(
                self, {stream: NEGATIVE[stream][0] for stream in self._active(times)}, preds, times
            ),
            state,
        )

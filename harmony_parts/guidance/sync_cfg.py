"""SyncCFG: guidance by the other stream (arXiv:2511.21579)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from torch import Tensor

from harmony_parts.anchors.protocol import Anchor
from harmony_parts.av import AV
from harmony_parts.guidance.protocol import CONDITIONAL, Pass, Predictions, StepTimes, conditional
from harmony_parts.guidance.scales import extrapolate, guided_streams, scale
from harmony_parts.plugin import default_part, knob

# Generated stream -> the anchor (name of the field and of the pass), and the stream it replaces.
NEGATIVE = {"video": ("mute", "audio"), "audio": ("static", "video")}


def _for_stream(stream: str) -> Any:
    def check(spec: Any, field: attrs.Attribute[Any], anchor: Anchor) -> None:
        if anchor.stream != stream:
            raise ValueError(
                f"{field.name} must be an anchor for the {stream} stream; {anchor!r} is for"
                f" {anchor.stream}"
            )

    return check


@attrs.frozen
class SyncCFG:
    """Strengthens the synchronization of the streams (arXiv:2511.21579, SyncCFG):

        v_video = v_video(x_a = mute)   + s_video (v_video - v_video(x_a = mute))
        v_audio = v_audio(x_v = static) + s_audio (v_audio - v_audio(x_v = static))

    The anchors are clean, at time 0. In a driven task the anchor replaces the given stream. A scale
    of 1 is off; a scale of 0 gives the negative. Each scale other than 1 costs one pass, which
    reads one stream. The scale has no effect if the other stream is absent.
    """

    video: float = scale(
        3.0, help="scale of the video's velocity", source="arXiv:2511.21579, s_v = 3"
    )
    audio: float = scale(
        2.0, help="scale of the audio's velocity", source="arXiv:2511.21579, s_a = 2"
    )
    mute: Anchor = knob(
        default_part("harmony_parts.anchors.mute:MuteAudio"),
        help="sound without information about the video",
        validator=_for_stream("audio"),
    )
    static: Anchor = knob(
        default_part("harmony_parts.anchors.static:StaticVideo"),
        help="video without information about the sound",
        validator=_for_stream("video"),
    )
    drop: tuple[str, ...] = knob(
        (),
        help=("names of the conditions to drop in the negatives; the paper doesn't mention any"),
        off=(),
        converter=tuple,
    )

    def _active(self, times: StepTimes) -> list[str]:
        present = tuple(times.present())
        return [stream for stream in guided_streams(self, times) if NEGATIVE[stream][1] in present]

    def passes(self, times: StepTimes, state: Any) -> Sequence[Pass]:
        """The conditional pass, and for each guided stream one with the other stream's anchor."""
        passes = [conditional(times)]
        for stream in self._active(times):
            name, other = NEGATIVE[stream]
            anchor: Anchor = getattr(self, name)
            needs = (CONDITIONAL,) if anchor.from_estimate else ()
            passes.append(
                Pass(
                    name,
                    times,
                    replace={other: anchor},
                    drop=self.drop,
                    read=(stream,),
                    needs=needs,
                )
            )
        return passes

    def combine(self, preds: Predictions, times: StepTimes, state: Any) -> tuple[AV[Tensor], Any]:
        """Extrapolate from each negative through the conditional prediction."""
        negatives = {stream: NEGATIVE[stream][0] for stream in self._active(times)}
        return extrapolate(self, negatives, preds, times), state

"""The error for an argument of another library gives the name that it has here."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from harmony_parts.errors import nearest

P = ParamSpec("P")
R = TypeVar("R")

_FORMAT = "the model's format fixes it (`pipeline.format`)"
ELSEWHERE = {
    "negative_prompt": "it is called `negative` here",
    "num_inference_steps": "it is called `steps` here",
    "guidance_scale": "it is a setting of `guidance`: guidance=hp.CFG(video=4, audio=3)",
    "audio_guidance_scale": "it is a setting of `guidance`: guidance=hp.CFG(video=4, audio=3)",
    "num_frames": "the length is `seconds`, the number of frames divided by `pipeline.format.fps`",
    "duration": "it is called `seconds` here",
    "generator": "it is called `seed` here, a whole number",
    "num_videos_per_prompt": "use `generate_many(prompts, seeds=[0, 1, ...])`",
    "callback": "it is called `progress` here, a function of a `Step`",
    "callback_on_step_end": "it is called `progress` here, a function of a `Step`",
    "output_type": "the result has `frames` and `waveform`, and `numpy()` gives arrays",
    **dict.fromkeys(("height", "width", "fps", "frame_rate", "sampling_rate"), _FORMAT),
}
"""What other libraries call an argument -> what stands for it here."""


def known_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """`function`, whose TypeError for an unknown argument says what it is called here.

    Editors and type checkers see the function's own signature.
    """
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if unknown := [name for name in kwargs if name not in known]:
            answers = "; ".join(_answer(name, list(known)) for name in unknown)
            raise TypeError(f"{function.__name__} has no {answers}")
        return function(*args, **kwargs)

    return called


def _answer(name: str, known: list[str]) -> str:
    if name in ELSEWHERE:
        return f"argument {name!r}: {ELSEWHERE[name]}"
    return f"argument {name!r}{nearest(name, known)}"

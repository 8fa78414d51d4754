"""The sampling times that a published model's scheduler asks for."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from harmony_diffusers.frozen import component, explained, found

Spread = Literal["euler", "unipc", "plain"]
SPREADS: dict[str, Spread] = {
    "FlowMatchEulerDiscreteScheduler": "euler",
    "UniPCMultistepScheduler": "unipc",
    "MiniMaxH3Scheduler": "plain",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "euler": {"invert_sigmas": False, "stochastic_sampling": False},
    "unipc": {
        "use_flow_sigmas": True,
        "prediction_type": "flow_prediction",
        "predict_x0": True,
        "solver_order": 2,
        "solver_type": "bh2",
        "lower_order_final": True,
        "final_sigmas_type": "zero",
        "thresholding": False,
        "disable_corrector": [],
    },
    "plain": {},
}
"""What each must be set to, if it is set, for its steps to be those of that spread here."""
OFF = dict.fromkeys(
    (
        "use_dynamic_shifting",
        "shift_terminal",
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
    ),
    False,
)


@attrs.frozen
class SavedTimes:
    """The shift of a saved scheduler, and how it spreads times before they are shifted."""

    shift: float
    spread: Spread


def saved_times(model: str, revision: str = "", subfolder: str = "scheduler") -> SavedTimes:
    """The times of a saved scheduler, in its `subfolder` of `model`.

    Those of `SPREADS` are known. Raises ValueError if it
    can't be read, is another scheduler, or has settings with which its steps are others.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    with explained("a scheduler", model, subfolder):
        config = FlowMatchEulerDiscreteScheduler.load_config(
            found(model), **component("scheduler", model, subfolder, revision)
        )
        kind = config.get("_class_name")
        if kind not in SPREADS:
            raise ValueError(
                f"it is a {kind}, for which there is no solver here; a model that is sampled with"
                f" {', '.join(SPREADS)} is needed"
            )
        spread = SPREADS[kind]
        if spread == "unipc" and not config.get("use_flow_sigmas"):
            raise ValueError("it isn't for flow matching (use_flow_sigmas)")
        for name, wanted in (OFF | SETTINGS[spread]).items():
            value = config.get(name, wanted)
            if (value or wanted) and value != wanted:
                raise ValueError(f"it has {name} {value!r}, so its steps are not those of here")
    return SavedTimes(
        float(config.get("flow_shift" if spread == "unipc" else "shift", 1.0)), spread
    )

"""The sampling times that a published model's scheduler asks for."""

from __future__ import annotations

from harmony_diffusers.frozen import explained, found, place


def flow_shift(model: str, revision: str = "", subfolder: str = "scheduler") -> float:
    """The shift of a saved FlowMatchEulerDiscreteScheduler, in its `subfolder` of `model`.

    Its times are those of the part `flow-match` with that shift.
    Raises ValueError if it can't be read, is another scheduler, or has times that are not those.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler

    with explained("a scheduler", model, subfolder):
        config = FlowMatchEulerDiscreteScheduler.load_config(
            found(model), **place(subfolder, revision)
        )
        kind, wanted = config.get("_class_name"), FlowMatchEulerDiscreteScheduler.__name__
        if kind != wanted:
            raise ValueError(
                f"it is a {kind}, for which there is no solver here; a model that is sampled with"
                f" {wanted} is needed"
            )
        odd = [
            name
            for name in (
                "use_dynamic_shifting",
                "shift_terminal",
                "use_karras_sigmas",
                "use_exponential_sigmas",
                "use_beta_sigmas",
                "invert_sigmas",
                "stochastic_sampling",
            )
            if config.get(name)
        ]
        if odd:
            raise ValueError(f"it has {odd[0]}, so its times are not of one shift")
    return float(config.get("shift", 1.0))

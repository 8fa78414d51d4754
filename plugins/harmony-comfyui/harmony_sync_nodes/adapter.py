"""A guidance of the library as a function that ComfyUI calls after its own guidance by text.

ComfyUI's models give clean estimates D = x - t v (t: sigma). A guidance combines velocities, so the
function turns the one into the other, adds what the guidance changes to the result of the guidance
by text, and leaves the arithmetic to the guidance's own `passes` and `combine`:

    D' = D_text - t (combine(predictions) - v_joint)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import attrs
import torch
from harmony_sync_nodes.packed import Conds, Layout, as_given, is_given, mask_of
from torch import Tensor

from harmony_parts.av import STREAMS
from harmony_parts.guidance.demands import demands
from harmony_parts.guidance.protocol import CONDITIONAL, LATENTS, Guidance, Pass, StepTimes

Arguments = Mapping[str, Any]
"""What ComfyUI passes to a function after guidance: input, sigma, cond, uncond, denoised, ..."""


@attrs.frozen
class Calls:
    """The two functions of ComfyUI that a pass needs.

    - `denoise`: `comfy.samplers.calc_cond_batch`, which gives a list of estimates.
    - `wrap`: `comfy.conds.CONDRegular`, which makes a tensor a condition of the model.
    """

    denoise: Callable[..., Sequence[Tensor]]
    wrap: Callable[[Tensor], Any]


def check_guidance(guidance: Guidance, anchors: Mapping[str, Tensor]) -> None:
    """Raise ValueError if ComfyUI can't run the guidance's passes with these anchors."""
    asked = demands(guidance)
    if asked.hints:
        raise ValueError(
            f"{type(guidance).__name__} changes the network ({', '.join(sorted(asked.hints))}),"
            " which this node can't do: choose a guidance that replaces streams or drops text"
        )
    for each in asked.passes:
        if each.model or each.words:
            raise ValueError(
                f"the pass {each.name!r} of {type(guidance).__name__} needs another model or has"
                " other words, which this node can't do: it has one model and two prompts"
            )
        for stream, _ in each.replace:
            if stream not in anchors:
                raise ValueError(
                    f"the pass {each.name!r} of {type(guidance).__name__} replaces the"
                    f" {stream}: connect `{'mute' if stream == 'audio' else 'static'}`, or set the"
                    f" scale of the {'video' if stream == 'audio' else 'audio'} to 1"
                )


def drops_text(guidance: Guidance) -> bool:
    """Whether a pass is without text, so that the negative prompt is needed even at cfg 1."""
    return any(each.drop for each in demands(guidance).passes)


class GuidanceFunction:
    """`set_model_sampler_post_cfg_function` takes it; one for each patched model.

    `anchors`: stream -> clean latents as a VAE gives them, of one sample or of each. An anchor may
    have fewer latents than the video: what follows are guide frames, which stay in every pass.
    """

    def __init__(self, guidance: Guidance, anchors: Mapping[str, Tensor], calls: Calls) -> None:
        check_guidance(guidance, anchors)
        self.guidance, self.anchors, self.calls = guidance, dict(anchors), calls
        self.state: Any = None
        self.after: Any = None
        self.step: tuple[int, int] | None = None

    def __call__(self, args: Arguments) -> Tensor:
        """The guided estimate [B, 1, N]; `denoised` itself where the guidance asks for nothing."""
        denoised: Tensor = args["denoised"]
        layout = Layout.of(args["cond"] or ())
        if layout is None:
            return denoised
        sigma = float(args["sigma"].max())
        self._advance(sigma, args)
        times = self._times(sigma, args["cond"], layout)
        if not times.generated():
            return denoised
        x: Tensor = args["input"]
        estimates = self._estimates(self.guidance.passes(times, self.state), args, layout)
        predictions = {
            name: layout.av((x - estimate) / sigma).only(times.generated())
            for name, estimate in estimates.items()
        }
        guided, self.after = self.guidance.combine(
            predictions | {LATENTS: layout.av(x)}, times, self.state
        )
        plain = predictions[CONDITIONAL]
        if all(guided[stream] is plain[stream] for stream in guided):
            return denoised  # the guidance is off
        change = guided.map(torch.sub, plain)
        return denoised - sigma * layout.from_av(change, denoised)

    def _estimates(
        self, passes: Sequence[Pass], args: Arguments, layout: Layout
    ) -> dict[str, Tensor]:
        """Pass name -> the model's clean estimate; equal passes run once."""
        found: list[tuple[Pass, Tensor]] = []
        for each in passes:
            if not any(each == known for known, _ in found):
                found.append((each, self._estimate(each, args, layout)))
        return {
            each.name: next(estimate for known, estimate in found if known == each)
            for each in passes
        }

    def _estimate(self, each: Pass, args: Arguments, layout: Layout) -> Tensor:
        conds, x = args["uncond" if each.drop else "cond"], args["input"]
        if conds is None:
            raise ValueError(
                f"the pass {each.name!r} of {type(self.guidance).__name__} is without the prompt,"
                " and this sampler has no negative prompt: use one that takes it, such as KSampler"
            )
        if not each.replace:  # the sampler has run it for its own guidance
            estimate: Tensor = args["uncond_denoised" if each.drop else "cond_denoised"]
            return estimate
        for stream, _ in each.replace:
            x = self._replaced(x, stream, args, layout)
            conds = as_given(conds, stream, layout.shape(stream), self.calls.wrap)
        (estimate,) = self.calls.denoise(
            args["model"], [conds], x, args["sigma"], args["model_options"]
        )
        return estimate

    def _replaced(self, x: Tensor, stream: str, args: Arguments, layout: Layout) -> Tensor:
        """x with the stream's anchor; latents that are given stay, unless all of them are."""
        streams = layout.streams(x)
        current = streams[stream]
        anchor = _shaped(args["model"], self.anchors[stream], current, stream, args["cond"])
        latents = anchor.shape[2]
        mask = mask_of(args["cond"], stream)
        if mask is not None and not is_given(mask, latents):
            known = mask[:, :, :latents].to(current) <= 0
            anchor = torch.where(known, current[:, :, :latents], anchor)
        replaced = torch.cat((anchor, current[:, :, latents:]), dim=2)
        return layout.packed(streams | {stream: replaced})

    def _times(self, sigma: float, conds: Conds, layout: Layout) -> StepTimes:
        """The step's times: 0 for a stream that is given."""

        def time(stream: str) -> float:
            anchor = self.anchors.get(stream)
            latents = layout.shape(stream)[1] if anchor is None else anchor.shape[2]
            return 0.0 if is_given(mask_of(conds, stream), latents) else min(sigma, 1.0)

        return StepTimes(**{stream: time(stream) for stream in STREAMS})

    def _advance(self, sigma: float, args: Arguments) -> None:
        """Take the state of the step before at the first evaluation of a step.

        A sampler may evaluate the model several times in a step. `sample_sigmas` are the steps of
        the whole run; another run has another tensor.
        """
        sigmas = args["model_options"].get("transformer_options", {}).get("sample_sigmas")
        if sigmas is None:
            return
        bounds = sigmas.tolist()
        inside = [i for i, (high, low) in enumerate(pairwise(bounds)) if low < sigma <= high]
        step = (id(sigmas), inside[0] if inside else 0)
        if self.step is None or step[0] != self.step[0] or step[1] < self.step[1]:
            self.state = self.after = None
        elif step[1] > self.step[1]:
            self.state = self.after
        self.step = step


def _shaped(model: Any, anchor: Tensor, current: Tensor, stream: str, conds: Conds) -> Tensor:
    """The anchor as the model reads it, for each sample of `current` [B, C, T, ...].

    Raises ValueError if it doesn't fit.
    """
    guides = stream == "video" and any("keyframe_idxs" in cond["model_conds"] for cond in conds)
    fits = (
        anchor.shape[1] == current.shape[1]
        and anchor.shape[3:] == current.shape[3:]
        and (anchor.shape[2] == current.shape[2] or (guides and anchor.shape[2] < current.shape[2]))
        and len(anchor) in (1, len(current))
    )
    if not fits:
        raise ValueError(
            f"the {'mute sound' if stream == 'audio' else 'static video'} has latents"
            f" {list(anchor.shape)}, and the {stream} that is sampled {list(current.shape)}: make"
            " it from the same latent, of the same length and size"
        )
    flat = model.process_latent_in(anchor.reshape(len(anchor), 1, -1))
    return flat.reshape(anchor.shape).to(current).expand(len(current), *anchor.shape[1:])

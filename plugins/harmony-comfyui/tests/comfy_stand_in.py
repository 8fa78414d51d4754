"""A stand-in for the functions of ComfyUI that the nodes call.

ComfyUI isn't on the package index, and its licence keeps it out of this repository, so the tests
run on these few functions, written from what ComfyUI 0.20.1 does:

- A LATENT of two streams is nested; a sampler packs it to [B, 1, N], and `latent_shapes` in each
  condition's `model_conds` says where the streams lie.
- `calc_cond_batch(model, [conds, ...], x, sigma, options)` gives the clean estimate for each set of
  conditions, and zeros for `None`.
- The sampler asks for the positive and the negative prompt, except at cfg 1 unless
  `disable_cfg1_optimization` is set, applies cfg, then calls each function of
  `sampler_post_cfg_function` with a dict, in turn.
- With a mask (1: generate, 0: given) the given part of x is the given latent before each
  evaluation, and of the estimate after it. Times of tokens are mask times sigma.
- `sample_sigmas` in `transformer_options` are the run's steps.

`HARMONY_COMFYUI=folder` runs test_real_comfyui.py on the real one.
"""

from __future__ import annotations

import math
import sys
import types
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor


class Condition:
    """`CONDRegular` and `CONDConstant`."""

    def __init__(self, cond: Any) -> None:
        self.cond = cond


class Nested:
    """`NestedTensor`."""

    is_nested = True

    def __init__(self, tensors: list[Tensor]) -> None:
        self.tensors = tensors

    def unbind(self) -> list[Tensor]:
        return self.tensors


class FlowSampling:
    """`CONST`: x_t = (1 - t) x + t n."""

    def percent_to_sigma(self, share: float) -> float:
        return 1.0 - share


class TinyAV:
    """A model of two streams that read each other, their own times and a prompt; float64.

    velocity = tanh(own latents + the other stream's mean + times + prompt), with fixed weights.
    """

    def __init__(self) -> None:
        self.model_sampling = FlowSampling()
        self.calls = 0
        self.seen: list[tuple[Tensor, Tensor]] = []

    def process_latent_in(self, latent: Tensor) -> Tensor:
        return latent * 2

    def velocity(
        self, video: Tensor, audio: Tensor, t_video: Tensor, t_audio: Tensor, prompt: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Video [B, C, T, H, W], audio [B, C, T, F], times that broadcast to them, prompt [B]."""
        heard = audio.mean((1, 3))  # [B, T]
        seen = video.mean((1, 3, 4))
        text = prompt.view(-1, 1, 1)
        to_video = _at(heard, video.shape[2]) * (1 + _over_time(t_audio, heard).mean(1, True))
        to_audio = _at(seen, audio.shape[2]) * (1 + _over_time(t_video, seen).mean(1, True))
        v = torch.tanh(0.7 * video + 1.3 * (to_video[:, None] + text)[..., None, None] + t_video)
        a = torch.tanh(0.6 * audio - 1.1 * (to_audio[:, None] - text)[..., None] + 0.5 * t_audio)
        return v, a

    def apply_model(self, x: Tensor, sigma: Tensor, model_conds: dict[str, Condition]) -> Tensor:
        self.calls += 1
        shapes = model_conds["latent_shapes"].cond
        video, audio = unpacked(x, shapes)
        times = [
            sigma.view(-1, *[1] * (each.ndim - 1)) * _mask(model_conds, name, each)
            for each, name in ((video, "denoise_mask"), (audio, "audio_denoise_mask"))
        ]
        self.seen.append((times[0].clone(), times[1].clone()))
        prompt = model_conds["prompt"].cond.expand(len(x))
        return x - sigma.view(-1, 1, 1) * packed(self.velocity(video, audio, *times, prompt))


def _at(values: Tensor, length: int) -> Tensor:
    """[B, T] resampled to [B, length]."""
    return values[:, torch.arange(length) * values.shape[1] // length]


def _over_time(times: Tensor, like: Tensor) -> Tensor:
    """A time for each latent [B, T] of times that broadcast to a stream."""
    mean = times.mean([1, *range(3, times.ndim)])
    return mean.expand(like.shape)


def _mask(model_conds: dict[str, Condition], name: str, stream: Tensor) -> Tensor:
    if name not in model_conds:
        return torch.ones(1, *[1] * (stream.ndim - 1), dtype=stream.dtype)
    return (
        model_conds[name]
        .cond.to(stream)[:, :1]
        .clamp(min=0)
        .expand(len(stream), 1, *stream.shape[2:])
    )


def packed(streams: Any) -> Tensor:
    return torch.cat([each.reshape(len(each), 1, -1) for each in streams], dim=-1)


def unpacked(x: Tensor, shapes: Any) -> list[Tensor]:
    parts = x.split([math.prod(shape[1:]) for shape in shapes], dim=-1)
    return [part.reshape(len(x), *shape[1:]) for part, shape in zip(parts, shapes, strict=True)]


def calc_cond_batch(
    model: TinyAV, conds: list[Any], x: Tensor, sigma: Tensor, options: dict[str, Any]
) -> list[Tensor]:
    """Estimates; conditions of one call go through the model together."""
    found = [torch.zeros_like(x) for _ in conds]
    run = [k for k, each in enumerate(conds) if each is not None]
    calls = model.calls
    for k in run:
        each = [model.apply_model(x, sigma, cond["model_conds"]) for cond in conds[k]]
        found[k] = torch.stack(each).mean(0)
    model.calls = calls + 1
    return found


def sampling_function(
    model: TinyAV, x: Tensor, sigma: Tensor, negative: Any, positive: Any, cfg: float, options: Any
) -> Tensor:
    skip = math.isclose(cfg, 1.0) and not options.get("disable_cfg1_optimization", False)
    negative = None if skip else negative
    own, without = calc_cond_batch(model, [positive, negative], x, sigma, options)
    result = without + (own - without) * cfg
    for function in options.get("sampler_post_cfg_function", []):
        result = function(
            {
                "denoised": result,
                "cond": positive,
                "uncond": negative,
                "cond_scale": cfg,
                "model": model,
                "uncond_denoised": without,
                "cond_denoised": own,
                "sigma": sigma,
                "model_options": options,
                "input": x,
            }
        )
    return result


class Patcher:
    """`ModelPatcher`: a model with the options of its sampler."""

    def __init__(self, model: Any, options: dict[str, Any] | None = None) -> None:
        self.model, self.model_options = model, options or {}

    def clone(self) -> Patcher:
        options = {
            name: list(value) if isinstance(value, list) else value
            for name, value in self.model_options.items()
        }
        return Patcher(self.model, options)

    def get_model_object(self, name: str) -> Any:
        return getattr(self.model, name)

    def set_model_sampler_post_cfg_function(
        self, function: Any, disable_cfg1_optimization: bool = False
    ) -> None:
        self.model_options.setdefault("sampler_post_cfg_function", []).append(function)
        if disable_cfg1_optimization:
            self.model_options["disable_cfg1_optimization"] = True


def euler(
    patcher: Patcher,
    noise: list[Tensor],
    sigmas: Tensor,
    positive: Any,
    negative: Any = None,
    *,
    cfg: float = 1.0,
    latent: list[Tensor] | None = None,
    masks: list[Tensor] | None = None,
) -> list[Tensor]:
    """What KSampler does with `euler`: the streams after all steps."""
    shapes = [tuple(each.shape) for each in noise]
    known = packed(latent) if latent is not None else torch.zeros_like(packed(noise))
    mask = packed([m.expand(s) for m, s in zip(masks, shapes, strict=True)]) if masks else None
    options = {**patcher.model_options, "transformer_options": {"sample_sigmas": sigmas}}

    def denoised(x: Tensor, sigma: Tensor) -> Tensor:
        if mask is not None:
            x = x * mask + known * (1 - mask)
        found = sampling_function(
            patcher.model, x, sigma.expand(len(x)), negative, positive, cfg, options
        )
        return found if mask is None else found * mask + known * (1 - mask)

    x = packed(noise) * sigmas[0] + known * (1 - sigmas[0])
    for sigma, following in pairwise(sigmas):
        x = x + (x - denoised(x, sigma)) / sigma * (following - sigma)
    return unpacked(x, shapes)


class _Socket:
    """Any input or output of a node."""

    def __init__(self, id: str | None = None, **settings: Any) -> None:
        self.id, self.settings = id, settings


def _kind() -> Any:
    return types.SimpleNamespace(Input=_Socket, Output=_Socket)


class _Schema:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class _Output:
    def __init__(self, *results: Any) -> None:
        self.results = results


def _resized(samples: Tensor, width: int, height: int, method: str, crop: str) -> Tensor:
    return torch.nn.functional.interpolate(samples, size=(height, width), mode=method)


def install() -> None:
    """Put the stand-in where the nodes import ComfyUI from."""
    io = types.SimpleNamespace(
        ComfyNode=object,
        Schema=_Schema,
        NodeOutput=_Output,
        **{name: _kind() for name in ("Model", "Float", "String", "Latent", "Vae", "Image")},
    )
    modules = {
        "comfy": {},
        "comfy.conds": {"CONDRegular": Condition},
        "comfy.model_sampling": {"CONST": FlowSampling},
        "comfy.samplers": {"calc_cond_batch": calc_cond_batch},
        "comfy.utils": {"common_upscale": _resized},
        "comfy_api": {},
        "comfy_api.latest": {"io": io, "ComfyExtension": object},
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)

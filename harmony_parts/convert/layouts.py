"""How other projects name and shape their tensors, as rules between their names and ours.

In a pattern, `{n}` is a layer's number and `*` a suffix that is the same in both names. The rules
follow the state dicts of Wan and Ovi. Here a convolution over patches is a linear layer, and
leading axes of 1 are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

import attrs
from torch import Tensor

Form = Literal["same", "patches", "row"]
"""`patches`: theirs [D, C, 1, p, p], ours [D, p p C]. `row`: theirs [1, ...], ours [...]."""


@attrs.frozen
class Rule:
    """The names `theirs` and `ours` of one tensor, and the `form` in which its shapes differ."""

    theirs: str
    ours: str
    form: Form = "same"

    def to_ours(self, name: str) -> str | None:
        """Our name of their tensor, or `None` if the rule doesn't apply to it."""
        return _renamed(self.theirs, self.ours, name)

    def to_theirs(self, name: str) -> str | None:
        """Their name of our tensor, or `None` if the rule doesn't apply to it."""
        return _renamed(self.ours, self.theirs, name)

    def shape(self, tensor: Tensor) -> Tensor:
        """Their tensor in our shape."""
        if self.form == "patches":
            return tensor.permute(0, 2, 3, 4, 1).flatten(1)
        return tensor.squeeze(0) if self.form == "row" else tensor

    def shape_back(self, tensor: Tensor, patch: int) -> Tensor:
        """Our tensor in their shape, with patches of `patch` x `patch` latents."""
        if self.form == "patches":
            return tensor.unflatten(1, (1, patch, patch, -1)).permute(0, 4, 1, 2, 3)
        return tensor.unsqueeze(0) if self.form == "row" else tensor


def _renamed(source: str, target: str, name: str) -> str | None:
    pattern = re.escape(source).replace(r"\{n\}", r"(?P<n>\d+)").replace(r"\*", "(?P<rest>.+)")
    match = re.fullmatch(pattern, name)
    if match is None:
        return None
    groups = match.groupdict()
    return target.replace("{n}", groups.get("n", "")).replace("*", groups.get("rest", ""))


def _tower(prefix: str, stream: str, condition: str, modulation: str) -> Iterator[Rule]:
    """The rules that Wan's transformer and both of Ovi's share."""
    ours, layer, theirs = f"branches.{stream}", f"blocks.{{n}}.{stream}", f"{prefix}blocks.{{n}}"
    yield Rule(f"{prefix}text_embedding.*", f"{ours}.listener.projections.{condition}.*")
    yield Rule(f"{prefix}time_embedding.*", f"{ours}.time.mlp.*")
    yield Rule(f"{prefix}time_projection.*", f"{ours}.time.project.*")
    yield Rule(f"{prefix}head.modulation", f"{ours}.head.modulation", "row")
    yield Rule(f"{prefix}head.head.*", f"{ours}.head.out.*")
    yield Rule(f"{theirs}.self_attn.*", f"{layer}.self_attention.*")
    yield Rule(f"{theirs}.norm3.*", f"{layer}.norm3.*")
    for part in ("q", "k", "v", "o", "norm_q", "norm_k"):
        yield Rule(f"{theirs}.cross_attn.{part}.*", f"{layer}.text_attention.{part}.*")
    yield Rule(f"{theirs}.ffn.*", f"{layer}.ffn.*")
    yield Rule(f"{theirs}.{modulation}", f"{layer}.modulation", "row")


def _patches(prefix: str) -> Iterator[Rule]:
    yield Rule(
        f"{prefix}patch_embedding.weight", "branches.video.patch_embedding.weight", "patches"
    )
    yield Rule(f"{prefix}patch_embedding.bias", "branches.video.patch_embedding.bias")


def _fusion(prefix: str, stream: str) -> Iterator[Rule]:
    """Ovi's keys and values of the other stream."""
    theirs, ours = f"{prefix}blocks.{{n}}.cross_attn", f"blocks.{{n}}.interaction.to_{stream}"
    yield Rule(f"{theirs}.k_fusion.*", f"{ours}.k.*")
    yield Rule(f"{theirs}.v_fusion.*", f"{ours}.v.*")
    yield Rule(f"{theirs}.pre_attn_norm_fusion.*", f"{ours}.norm_source.*")
    yield Rule(f"{theirs}.norm_k_fusion.*", f"{ours}.norm_k.*")


def _diffusers() -> Iterator[Rule]:
    """The rules of diffusers' `WanTransformer3DModel`: the same tensors under other names."""
    layer = "blocks.{n}.video"
    yield from _patches("")
    for number, step in (("1", "0"), ("2", "2")):
        yield Rule(
            f"condition_embedder.text_embedder.linear_{number}.*",
            f"branches.video.listener.projections.caption.{step}.*",
        )
        yield Rule(
            f"condition_embedder.time_embedder.linear_{number}.*",
            f"branches.video.time.mlp.{step}.*",
        )
    yield Rule("condition_embedder.time_proj.*", "branches.video.time.project.1.*")
    yield Rule("scale_shift_table", "branches.video.head.modulation", "row")
    yield Rule("proj_out.*", "branches.video.head.out.*")
    for theirs, ours in (("attn1", "self_attention"), ("attn2", "text_attention")):
        for part in ("q", "k", "v"):
            yield Rule(f"blocks.{{n}}.{theirs}.to_{part}.*", f"{layer}.{ours}.{part}.*")
        yield Rule(f"blocks.{{n}}.{theirs}.to_out.0.*", f"{layer}.{ours}.o.*")
        yield Rule(f"blocks.{{n}}.{theirs}.norm_q.*", f"{layer}.{ours}.norm_q.*")
        yield Rule(f"blocks.{{n}}.{theirs}.norm_k.*", f"{layer}.{ours}.norm_k.*")
    yield Rule("blocks.{n}.norm2.*", f"{layer}.norm3.*")
    yield Rule("blocks.{n}.ffn.net.0.proj.*", f"{layer}.ffn.0.*")
    yield Rule("blocks.{n}.ffn.net.2.*", f"{layer}.ffn.2.*")
    yield Rule("blocks.{n}.scale_shift_table", f"{layer}.modulation", "row")


OVI = (
    *_patches("video_model."),
    Rule("audio_model.patch_embedding.0.*", "branches.audio.latent_embedding.0.*"),
    Rule(
        "audio_model.patch_embedding.2.w1.weight", "branches.audio.latent_embedding.2.gate.weight"
    ),
    Rule("audio_model.patch_embedding.2.w3.weight", "branches.audio.latent_embedding.2.up.weight"),
    Rule("audio_model.patch_embedding.2.w2.weight", "branches.audio.latent_embedding.2.out.weight"),
    *_tower("video_model.", "video", "caption", "modulation.modulation"),
    *_tower("audio_model.", "audio", "sound", "modulation.modulation"),
    *_fusion("video_model.", "video"),
    *_fusion("audio_model.", "audio"),
)
"""Ovi's fusion model: `dual-branch` of `transformer` and `cross`, interaction `global`."""

WAN = (*_patches(""), *_tower("", "video", "caption", "modulation"))
"""Wan2.2-TI2V-5B as its authors name it: a `video-only` of `transformer`."""

WAN_DIFFUSERS = tuple(_diffusers())
"""Wan2.2-TI2V-5B as diffusers names it."""

LAYOUTS = {"ovi": OVI, "wan": WAN, "wan-diffusers": WAN_DIFFUSERS}


def of_stream(rules: Iterable[Rule], stream: str) -> tuple[Rule, ...]:
    """The rules for the branch of one stream, without the interaction."""
    return tuple(
        rule
        for rule in rules
        if rule.ours.startswith((f"branches.{stream}.", f"blocks.{{n}}.{stream}."))
    )


def as_mmdit(rules: Iterable[Rule]) -> Iterator[Rule]:
    """The rules for what an `mmdit` can take from a `cross` branch.

    An `mmdit` embeds its latents by one linear layer and has no text attention.
    """
    for rule in rules:
        if not re.search(r"\.(latent_embedding|text_attention|norm3)\.", rule.ours):
            yield attrs.evolve(rule, ours=rule.ours.replace(".self_attention.", ".attention."))

"""Settings that the denoisers of branches share, and how such a denoiser is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import attrs

from harmony_parts.av import AV, STREAMS
from harmony_parts.branches.protocol import Branch, BranchSpec
from harmony_parts.codecs.protocol import AudioCodec, VideoCodec, grid_of
from harmony_parts.denoisers.branch_denoiser import BranchDenoiser
from harmony_parts.denoisers.joint_block import JointBlock
from harmony_parts.denoisers.ports import accepted, entering
from harmony_parts.denoisers.protocol import Port, Recompute
from harmony_parts.encoders.protocol import Encoder
from harmony_parts.interaction.protocol import InteractionSpec
from harmony_parts.plugin import knob


def layers_knob() -> Any:
    """The setting `layers`: the depth of the model."""
    return knob(
        30,
        help="joint blocks; each branch has as many layers",
        source="Wan2.2-TI2V-5B",
        validator=attrs.validators.ge(1),
    )


def ports_knob() -> Any:
    """The setting `ports`: where conditions of third parties enter."""
    return knob(
        attrs.Factory(dict),
        help=(
            "where further conditions enter; caption, image, speech, sound and voice have their"
            " ports already"
        ),
        off={},
    )


def recompute_knob() -> Any:
    """The setting `recompute`: activation checkpointing of the joint blocks."""
    return knob(
        "nothing",
        help=(
            "what the backward pass recomputes instead of storing, per joint block: less memory for"
            " more time. `all_but_attention` stores the results of attention, the most expensive"
            " part"
        ),
        off="nothing",
        validator=attrs.validators.in_(get_args(Recompute)),
    )


def compile_knob() -> Any:
    """The setting `compile`: torch.compile for each joint block."""
    return knob(
        False,
        help=(
            "whether to compile each joint block with torch.compile, which fuses many kernels into"
            " one; the first call takes minutes"
        ),
        off=False,
    )


def build_denoiser(
    branches: AV[BranchSpec],
    layers: int,
    interaction: InteractionSpec | None,
    *,
    codecs: AV[VideoCodec | AudioCodec],
    encoders: Mapping[str, Encoder],
    ports: Mapping[str, Port],
    one_way: bool = False,
    detach_clean: bool = False,
    recompute: Recompute = "nothing",
    compile: bool = False,
) -> BranchDenoiser:
    """Build a denoiser of these branches, with sizes taken from its codecs and encoders.

    Raises AssemblyError if a condition has no port, or one that it can't enter by.
    """
    conditions = accepted(encoders, ports, codecs)
    built: AV[Branch] = branches.map(
        lambda spec, codec, stream: spec.build(
            channels=codec.channels, grid=grid_of(codec), conditions=entering(conditions, stream)
        ),
        codecs,
        AV(*STREAMS),
    )
    blocks = [
        JointBlock(
            built.map(lambda branch: branch.block()),
            None if interaction is None else interaction.build(branches=built),
        )
        for _ in range(layers)
    ]
    if compile:
        for block in blocks:
            block.compile()
    accepts = {name: port for name, (port, _) in conditions.items()}
    return BranchDenoiser(
        built,
        blocks,
        codecs,
        accepts,
        one_way=one_way,
        recompute=recompute,
        detach_clean=detach_clean,
    )

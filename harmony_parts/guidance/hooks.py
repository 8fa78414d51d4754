"""The guidance that ships."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_guidance() -> Iterator[PartDeclaration]:
    """None, by text, by the other stream, by what a weaker network says, and what wraps and sums
    them.
    """
    yield part(
        "none",
        "harmony_parts.guidance.none:NoGuidance",
        summary="The prediction as it is: one pass.",
    )
    yield part(
        "cfg",
        "harmony_parts.guidance.cfg:CFG",
        summary="Away from the prediction without text, with a scale per stream.",
        source="arXiv:2207.12598",
    )
    yield part(
        "sync-cfg",
        "harmony_parts.guidance.sync_cfg:SyncCFG",
        summary=(
            "Away from the prediction for a mute sound or a static video: strengthens what the"
            " streams say to each other."
        ),
        source="arXiv:2511.21579",
    )
    yield part(
        "modality",
        "harmony_parts.guidance.modality:Modality",
        summary="Away from the prediction of streams that don't hear each other.",
        source="LTX-2, arXiv:2601.03233",
    )
    yield part(
        "skip-layer",
        "harmony_parts.guidance.skip_layer:SkipLayer",
        summary="Away from the prediction without text of a network that lacks one block.",
        source="Ovi, arXiv:2510.01284",
    )
    yield part(
        "cfg-rescale",
        "harmony_parts.guidance.rescale:Rescale",
        summary=(
            "Brings the standard deviation of what another guidance makes back to that of the"
            " prediction."
        ),
        source="arXiv:2305.08891",
    )
    yield part(
        "window",
        "harmony_parts.guidance.window:Window",
        summary="Another guidance, but only within a window of time.",
        source="arXiv:2404.07724",
    )
    yield part(
        "schedule",
        "harmony_parts.guidance.schedule:Schedule",
        summary="Another guidance, more or less of it as time goes by.",
        source="arXiv:2404.13040",
    )
    yield part(
        "data-space",
        "harmony_parts.guidance.data_space:DataSpace",
        summary="Another guidance, on clean estimates in place of velocities.",
    )
    yield part(
        "sum",
        "harmony_parts.guidance.sum:Sum",
        summary="Adds up what several guidances add to the prediction.",
    )

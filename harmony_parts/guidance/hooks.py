"""The built-in guidances."""

from __future__ import annotations

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_guidance() -> Iterator[PartDeclaration]:
    """No guidance, guidance by text, by the other stream and by a weaker network, and wrappers."""
    yield part(
        "none",
        "harmony_parts.guidance.none:NoGuidance",
        summary="The unmodified conditional prediction: one pass.",
    )
    yield part(
        "cfg",
        "harmony_parts.guidance.cfg:CFG",
        summary="Classifier-free guidance by text, with a scale per stream.",
        source="arXiv:2207.12598",
    )
    yield part(
        "sync-cfg",
        "harmony_parts.guidance.sync_cfg:SyncCFG",
        summary=(
            "Away from the prediction for mute sound or a static video: strengthens the sync"
            " between the streams."
        ),
        source="arXiv:2511.21579",
    )
    yield part(
        "modality",
        "harmony_parts.guidance.modality:Modality",
        summary="Away from the prediction without any exchange between the streams.",
        source="LTX-2, arXiv:2601.03233",
    )
    yield part(
        "skip-layer",
        "harmony_parts.guidance.skip_layer:SkipLayer",
        summary="Away from the prediction of the network without one block and without text.",
        source="Ovi, arXiv:2510.01284",
    )
    yield part(
        "cfg-rescale",
        "harmony_parts.guidance.rescale:Rescale",
        summary=(
            "Rescales another guidance's result towards the standard deviation of the conditional"
            " prediction."
        ),
        source="arXiv:2305.08891",
    )
    yield part(
        "window",
        "harmony_parts.guidance.window:Window",
        summary="Applies another guidance only within an interval of each stream's time.",
        source="arXiv:2404.07724",
    )
    yield part(
        "schedule",
        "harmony_parts.guidance.schedule:Schedule",
        summary="Varies the strength of another guidance with each stream's time.",
        source="arXiv:2404.13040",
    )
    yield part(
        "data-space",
        "harmony_parts.guidance.data_space:DataSpace",
        summary="Applies another guidance to clean estimates instead of velocities.",
    )
    yield part(
        "sum",
        "harmony_parts.guidance.sum:Sum",
        summary="Adds up the changes that several guidances make to the prediction.",
    )

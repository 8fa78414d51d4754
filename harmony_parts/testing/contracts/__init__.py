"""Contract checks, one per kind of part, for your own tests; all built-in parts pass them.

    from harmony_parts.testing.contracts import check_guidance

    def test_contract():
        check_guidance(MyGuidance())

Each check raises PartContractError if the part fails; the message states what the part must do.
`harmony_parts.testing.guidance_properties` tests guidance further, with hypothesis.
"""

from __future__ import annotations

from harmony_parts.testing.contracts.anchors import check_anchor
from harmony_parts.testing.contracts.attention import check_attention
from harmony_parts.testing.contracts.branches import check_audio_branch, check_video_branch
from harmony_parts.testing.contracts.callbacks import check_callback
from harmony_parts.testing.contracts.codecs import check_audio_codec, check_video_codec
from harmony_parts.testing.contracts.data import check_data
from harmony_parts.testing.contracts.denoisers import check_denoiser
from harmony_parts.testing.contracts.encoders import check_encoder
from harmony_parts.testing.contracts.filters import check_filter
from harmony_parts.testing.contracts.flow import (
    check_density,
    check_path,
    check_shift,
    check_solver,
)
from harmony_parts.testing.contracts.guidance import check_guidance
from harmony_parts.testing.contracts.interactions import check_interaction
from harmony_parts.testing.contracts.metrics import check_metric
from harmony_parts.testing.contracts.optimizers import check_optimizer
from harmony_parts.testing.contracts.references import check_reference
from harmony_parts.testing.contracts.scenes import check_scene
from harmony_parts.testing.contracts.schedules import check_schedule
from harmony_parts.testing.contracts.sources import check_source
from harmony_parts.testing.contracts.strategies import check_strategy
from harmony_parts.testing.contracts.style import check_style
from harmony_parts.testing.contracts.tasks import check_task
from harmony_parts.testing.contracts.trainable import check_trainable

__all__ = [
    "check_anchor",
    "check_attention",
    "check_audio_branch",
    "check_audio_codec",
    "check_callback",
    "check_data",
    "check_denoiser",
    "check_density",
    "check_encoder",
    "check_filter",
    "check_guidance",
    "check_interaction",
    "check_metric",
    "check_optimizer",
    "check_path",
    "check_reference",
    "check_scene",
    "check_schedule",
    "check_shift",
    "check_solver",
    "check_source",
    "check_strategy",
    "check_style",
    "check_task",
    "check_trainable",
    "check_video_branch",
    "check_video_codec",
]

"""A tiny MiniMax-H3 on a GPU (`make gpu`): what it makes on the CPU."""

from __future__ import annotations

from helpers.gpu_device import NEEDS_DEVICE, check_as_on_the_cpu
from minimax_h3_toys import QUICK, SMALL

from harmony_minimax_h3.recipe import minimax_h3_recipe
from harmony_parts.generate.pipeline import Pipeline

pytestmark = NEEDS_DEVICE


def test_on_a_gpu_it_makes_what_it_makes_on_the_cpu(model):
    """From a folder as its pipeline saves it: text encoder, denoiser and both codecs."""
    check_as_on_the_cpu(Pipeline.assemble(minimax_h3_recipe(str(model), [*SMALL, *QUICK])))

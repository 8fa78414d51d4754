"""Keys and values of the text, made once: what may be kept, what it saves, and what it may not do.

The contract of denoisers and the whole runs against diffusers' pipeline hold with it, too.
"""

from __future__ import annotations

import ltx2_toys as toys
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harmony_parts.errors import AssemblyError
from harmony_parts.flow.euler import Euler
from harmony_parts.flow.shift import ConstantShift
from harmony_parts.flow.straight import StraightPath
from harmony_parts.guidance.cfg import CFG
from harmony_parts.sample.sampler import sample

LENGTH = 6
KEEPING = ("2.0", "2.5")


def at(parts, t, said, cache=None):
    """The velocities of the same noise at a time of both streams, and the operations they took."""
    av = toys.noise()
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        made = parts.denoiser(av, toys.uniform(av, video=t, audio=t), said, cache=cache)
    return made, counted.get_total_flops()


@pytest.mark.parametrize("form", toys.FORMS)
def test_the_time_changes_the_keys_of_2_3_alone(form):
    """So that those of the others may be kept: what diffusers' own layers make at two times."""
    parts, made = toys.parts(toys.FORMS[form]), []
    for block in parts.model.transformer_blocks:
        for attention in (block.attn2, block.audio_attn2):
            for layer in (attention.to_k, attention.to_v):
                layer.register_forward_hook(lambda layer, args, out: made.append(out))
    said = toys.conditions(parts.widths)
    for t in (0.9, 0.2):
        at(parts, t, said)
    first, second = made[: len(made) // 2], made[len(made) // 2 :]
    assert len(first) == 8
    same = [torch.equal(a, b) for a, b in zip(first, second, strict=True)]
    assert same == [form in KEEPING] * 8


@pytest.mark.parametrize("form", KEEPING)
def test_a_later_step_makes_none_of_them(form):
    """It takes fewer operations by exactly theirs, and changes no velocity."""
    plain, keeping = (toys.parts(toys.FORMS[form], keep_text=keep) for keep in (False, True))
    keeping.model.load_state_dict(plain.model.state_dict())
    said, cache = toys.conditions(plain.widths, length=LENGTH), {}
    theirs = 2 * plain.model.config.num_layers * 2 * LENGTH * (24 * 24 + 16 * 16)
    for t, saved in ((0.9, 0), (0.5, theirs), (0.2, theirs)):
        wanted, operations = at(plain, t, said, {})
        made, fewer = at(keeping, t, said, cache)
        assert toys.same(made, wanted)
        assert operations - fewer == saved
    _, without = at(keeping, 0.2, said)
    assert without == operations


@pytest.mark.parametrize("form", KEEPING)
def test_each_text_has_its_own(form):
    """Text guidance has two texts; the run equals that without keeping."""
    plain, keeping = (toys.parts(toys.FORMS[form], keep_text=keep) for keep in (False, True))
    keeping.model.load_state_dict(plain.model.state_dict())
    settings = {"solver": Euler(), "shift": ConstantShift(1), "path": StraightPath(), "steps": 3}
    for seed in (0, 1):
        said = toys.conditions(plain.widths, seed)
        made, wanted = (
            sample(
                parts.denoiser,
                toys.noise(),
                said,
                codecs=parts.codecs,
                guidance=CFG(video=3, audio=7),
                **settings,
            )
            for parts in (keeping, plain)
        )
        assert toys.same(made, wanted)


def test_nothing_is_kept_with_gradients():
    """Their graph is gone after the first step backwards."""
    parts, av, cache = toys.parts(toys.LATEST, keep_text=True), toys.noise(), {}
    said = toys.conditions(parts.widths)
    for _ in range(2):
        noisy = av.map(lambda x: x.clone().requires_grad_())
        times = toys.uniform(av, video=0.7, audio=0.7)
        made = parts.denoiser(noisy, times, said, cache=cache)
        (made["video"].sum() + made["audio"].sum()).backward()
        assert all(noisy[s].grad.abs().sum() > 0 for s in noisy)
    assert "keys and values" not in cache


def test_2_3_refuses_it():
    """With the field and the remedy."""
    with pytest.raises(AssemblyError, match=r"\$.denoiser.keep_text: .* remove keep_text"):
        toys.parts(toys.LATER, keep_text=True)

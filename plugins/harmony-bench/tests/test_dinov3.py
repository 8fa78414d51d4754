"""DINOv3: its documented preprocessing, and identity, with tiny weights."""

from __future__ import annotations

import attrs
import pytest
import torch
from harmony_bench.dinov3 import DINOv3
from PIL import Image
from small import clip
from torchvision.transforms.functional import pil_to_tensor
from transformers import AutoModel, BertConfig, BertModel

from harmony_parts.errors import BrokenPart
from harmony_parts.metrics.protocol import Reference
from harmony_parts.testing.contracts.metrics import check_metric


@pytest.fixture(scope="module")
def metric(dinov3):
    return DINOv3(str(dinov3)).build()


def test_contract(dinov3):
    check_metric(DINOv3(str(dinov3), frames=3), clips=[clip()])


def test_pictures_are_prepared_as_documented(metric, dinov3):
    """Rescaled, resized by an antialiased triangle, then normalised; the class token counts.

    Pillow's bilinear filter is the reference, of 8 bits: hence the tolerance.
    """
    frames = clip(side=300).frames[:2, :, :260]
    network = AutoModel.from_pretrained(dinov3).eval()
    expected = []
    for frame in frames:
        small = Image.fromarray(frame.numpy()).resize((224, 224), Image.Resampling.BILINEAR)
        mean, deviation = (
            torch.tensor(values)[:, None, None]
            for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        )
        with torch.no_grad():
            given = (pil_to_tensor(small) / 255 - mean) / deviation
            expected.append(network(given[None]).last_hidden_state[0, 0])
    assert metric.embed(frames) == pytest.approx(torch.stack(expected).numpy(), abs=0.02)


def test_identity_is_the_mean_cosine(metric):
    moving = clip(side=64)
    found = metric.analyse(moving).video
    assert found.shape == (16, 24)
    image = moving.frames[5]
    person = metric.embed(image[None])[0]
    cosines = torch.nn.functional.cosine_similarity(found, person[None])
    number = metric.score(found, None, None, Reference(image=image))["identity"]
    assert number == pytest.approx(float(cosines.mean()), abs=1e-6)
    still = attrs.evolve(moving, frames=image[None].repeat(4, 1, 1, 1))
    same = metric.score(metric.analyse(still).video, None, None, Reference(image=image))
    assert same["identity"] == pytest.approx(1, abs=1e-5)
    assert number < same["identity"] - 1e-4


def test_which_frames_count(metric):
    """The first and the last, and those evenly between."""
    marked = clip(side=16).frames.clone()
    seen = []
    spy = attrs.evolve(
        metric,
        spec=DINOv3("x", frames=4),
        embed=lambda pictures: seen.append(pictures[:, 0, 0, 0]) or pictures[:, 0, 0].float(),
    )
    for k, frame in enumerate(marked):
        frame[:] = k
    spy.analyse(attrs.evolve(clip(), frames=marked))
    assert torch.cat(seen).tolist() == [0, 8, 15, 23]


def test_without_an_image_it_says_so(metric):
    found = metric.analyse(clip(side=32))
    assert metric.score(found.video, None) == {}
    assert metric.reason(found.video, None) == "there is no image to compare with"


def test_another_network_is_refused(tmp_path):
    BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                         intermediate_size=8, vocab_size=9)).save_pretrained(tmp_path)  # fmt: skip
    with pytest.raises(BrokenPart, match="of bert, not of DINOv3"):
        DINOv3(str(tmp_path)).build()

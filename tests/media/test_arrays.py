"""numpy arrays and PIL pictures, wherever a tensor is taken; `Clip.numpy` gives arrays back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_training as tiny
from PIL import Image

from harmony_parts.av import AV, Prompt, as_tensor
from harmony_parts.errors import RequestError
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
WAVE = np.linspace(-1, 1, 20, dtype=np.float32)[None]
PICTURE = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
PIPELINE = Pipeline.assemble(tiny.recipe())


def test_a_clip_of_arrays_gives_them_back() -> None:
    clip = Clip(FRAMES, 12, WAVE, 8000)
    assert isinstance(clip.frames, torch.Tensor)
    frames, waveform = clip.numpy()
    assert (frames == FRAMES).all()
    assert (waveform == WAVE).all()
    assert np.shares_memory(frames, FRAMES)
    assert Clip(FRAMES).numpy()[1] is None


def test_float64_is_numpys_default_and_becomes_float32() -> None:
    clip = Clip(waveform=np.sin(np.arange(20.0))[None])
    assert clip.waveform is not None
    assert clip.waveform.dtype == torch.float32
    assert np.allclose(clip.waveform.numpy(), np.sin(np.arange(20.0)))


@pytest.mark.parametrize(
    "view",
    [FRAMES[..., ::-1], FRAMES[::-1], FRAMES[:, ::2], FRAMES.transpose(0, 2, 1, 3)],
    ids=["BGR", "backwards", "every second row", "turned"],
)
def test_any_view_is_taken(view: np.ndarray[Any, Any]) -> None:
    assert (Clip(view).numpy()[0] == view).all()
    frozen = view.copy()
    frozen.flags.writeable = False
    assert (Clip(frozen).numpy()[0] == view).all()


def test_a_list_of_pictures_is_a_video() -> None:
    """As other libraries give it: PIL pictures, arrays or tensors."""
    for each in (Image.fromarray, np.asarray, torch.tensor):
        assert (Clip([each(frame) for frame in FRAMES]).numpy()[0] == FRAMES).all()
    for wrong in ([], [FRAMES[0], FRAMES[1, :2]], [FRAMES[0], "a.png"]):
        with pytest.raises(ValueError, match="frames"):
            Clip(wrong)


def test_floats_are_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"of torch.float32: \(frames \* 255\).round\(\) makes"):
        Clip(FRAMES / 255.0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_pictures_of_all_modes_are_rgb(mode: str) -> None:
    tensor = as_tensor(Image.fromarray(PICTURE).convert(mode))
    assert tensor is not None
    assert tensor.dtype == torch.uint8
    assert tensor.shape == (16, 16, 3)


def test_a_photo_is_turned_as_it_says() -> None:
    photo = Image.fromarray(PICTURE[:, :8])
    photo.getexif()[0x0112] = 6  # the camera was turned: 90 degrees clockwise
    tensor = as_tensor(photo)
    assert tensor is not None
    assert (tensor.numpy() == np.rot90(PICTURE[:, :8], -1)).all()


def test_a_first_frame_is_any_picture(tmp_path: Any) -> None:
    """The same clip, whatever holds the picture; other sizes are scaled, as those of files are."""
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    forms: list[Any] = [
        torch.from_numpy(PICTURE),
        PICTURE,
        Image.fromarray(PICTURE),
        Clip(PICTURE[None]),
        tmp_path / "a.png",
    ]
    made = [PIPELINE.generate("a ball", image=form, steps=1) for form in forms]
    assert all(torch.equal(each.frames, made[0].frames) for each in made)
    PIPELINE.generate("a ball", image=Image.fromarray(PICTURE).resize((40, 30)), steps=1)
    for wrong in (PICTURE[0], PICTURE / 255.0, torch.zeros(3, 16, 16)):
        with pytest.raises(RequestError, match=r"image must be uint8 \[H, W, 3\], not float|uint8"):
            PIPELINE.generate("a ball", image=wrong, steps=1)
    with pytest.raises(RequestError, match="image must be a file, a Clip or a picture"):
        PIPELINE.generate("a ball", image=np.array(["a"]), steps=1)


def test_prompts_and_latents_are_arrays_too() -> None:
    voice = np.zeros((1, 400), dtype=np.float32)
    arrays = PIPELINE.conditions([Prompt(image=PICTURE, voice=voice)])
    tensors = PIPELINE.conditions(
        [Prompt(image=torch.from_numpy(PICTURE), voice=torch.from_numpy(voice))]
    )
    assert all(torch.equal(arrays[name].tokens, tensors[name].tokens) for name in tensors)
    latents = PIPELINE.encode(
        [Clip(np.zeros((8, 16, 16, 3), np.uint8), 8, np.zeros((1, 4000)), 4000)]
    )
    (clip,) = PIPELINE.decode(latents.map(lambda x: x.numpy()))
    (same,) = PIPELINE.decode(latents)
    assert torch.equal(clip.frames, same.frames)
    given = AV(audio=latents["audio"].numpy())
    made = PIPELINE.latents([Prompt()], seeds=[0], frames=8, given=given, steps=1)
    assert torch.equal(made["audio"], latents["audio"])

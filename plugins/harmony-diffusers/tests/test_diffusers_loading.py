"""Weights from folders: what is saved is what is loaded; what can't be loaded is told in a
sentence.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import diffusers_toys as toys
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ByT5Tokenizer

from harmony_diffusers.frozen import Frozen
from harmony_diffusers.ltx2_audio import LTX2Audio
from harmony_diffusers.mmaudio_vae import MMAudio
from harmony_diffusers.umt5 import UMT5
from harmony_diffusers.wan_vae import WanVAE
from harmony_parts.av import AV, Prompt
from harmony_parts.errors import AssemblyError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model with everything in it, as diffusers and transformers save it."""
    from diffusers import AutoencoderKLLTX2Audio, AutoencoderKLWan, MMAudioVAE
    from diffusers.pipelines.ltx2 import LTX2Vocoder
    from transformers import UMT5Config, UMT5EncoderModel

    from harmony_diffusers.bigvgan import BigVGAN16k

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    # what tells the forms apart is checked
    mel = {**toys.MEL, "mel_bins": 80, "sample_rate": 16000}
    AutoencoderKLWan(**toys.WAN22).save_pretrained(folder / "vae")
    MMAudioVAE(**mel).save_pretrained(folder / "audio_vae")
    BigVGAN16k(**toys.VOCODER | {"num_mels": 80}).save_pretrained(folder / "vocoder")
    AutoencoderKLLTX2Audio(**toys.LTX_MEL).save_pretrained(folder / "ltx_vae")
    LTX2Vocoder(**toys.LTX_VOCODER).save_pretrained(folder / "ltx_vocoder")
    UMT5EncoderModel(UMT5Config(**toys.TEXT)).save_pretrained(folder / "text_encoder")
    ByT5Tokenizer().save_pretrained(folder / "tokenizer")
    return folder


SPECS = {
    "wan": (WanVAE(), toys.VIDEO),
    "mmaudio": (MMAudio(), toys.VIDEO),
    "ltx2": (LTX2Audio(subfolder="ltx_vae", vocoder_subfolder="ltx_vocoder"), toys.STEREO),
}


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a folder."""
    return load_file(next(folder.glob("*.safetensors")))


def same(frozen: Frozen, *folders: Path) -> bool:
    """Whether the weights are those in the folders, of which MMAudio's front end isn't used."""
    for model, folder in zip(frozen.models, folders, strict=True):
        there = {
            name.removeprefix("vae."): tensor
            for name, tensor in saved(folder).items()
            if not name.startswith("mel_converter.")
        }
        here = model.state_dict()
        assert there.keys() <= here.keys()  # tied weights are saved once
        if (
            not all(torch.equal(there[name], here[name]) for name in there)
            or not set(dict(model.named_parameters())) <= there.keys()
        ):
            return False
    return True


@pytest.mark.parametrize("name", SPECS)
def test_codecs_load_what_was_saved(folder, name):
    """And encode and decode with it."""
    spec, format = SPECS[name]
    codec = attrs.evolve(spec, model=str(folder)).build(format=format)
    parts = [
        spec.subfolder,
        *([spec.vocoder_subfolder] if hasattr(spec, "vocoder_subfolder") else []),
    ]
    assert same(codec.frozen, *(folder / part for part in parts))
    if name == "wan":
        assert codec.decode(
            codec.encode(torch.zeros(1, 3, 32, 48, 3, dtype=torch.uint8))
        ).shape == (1, 5, 32, 48, 3)
    else:
        latents = codec.encode(torch.zeros(1, 500))
        assert codec.decode(latents).shape == (1, codec.samples(latents.shape[1]))


def test_umt5_loads_what_was_saved(folder):
    """With the tokenizer beside it; and, where the folder itself holds the encoder, without
    subfolders.
    """
    encoder = UMT5(model=str(folder), precision="float32", length=48).build(
        format=toys.VIDEO, codecs=AV()
    )
    assert same(encoder.frozen, folder / "text_encoder")
    own = UMT5(
        model=str(folder / "text_encoder"),
        subfolder="",
        tokenizer="bytes",
        precision="float32",
        length=48,
    )
    prompts = [Prompt(caption="a dog, ein Hund")]
    twin = own.build(format=toys.VIDEO, codecs=AV())(prompts)
    assert torch.equal(encoder(prompts)["caption"].tokens, twin["caption"].tokens)


def test_precision_is_that_of_the_setting(folder):
    """Whatever the file is in."""
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        for spec, format in SPECS.values():
            frozen = (
                attrs.evolve(spec, model=str(folder), precision=precision)
                .build(format=format)
                .frozen
            )
            assert {weight.dtype for weight in frozen.parameters()} == {dtype}


def fault(spec, format=toys.VIDEO) -> str:
    """What building it complains of: one sentence."""
    with pytest.raises(ValueError) as caught:
        spec.build(format=format, **({"codecs": AV()} if isinstance(spec, UMT5) else {}))
    assert not isinstance(caught.value, AssemblyError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    """Isn't looked for on the Hub."""
    for spec in (WanVAE, MMAudio, LTX2Audio, UMT5):
        said = fault(spec(model=str(tmp_path / "nothing")))
        assert f"there is no folder '{tmp_path / 'nothing'}'" in said
        assert "set `model` to a folder that holds it, or to a repository on the Hub" in said


def test_a_folder_without_the_model(folder, tmp_path):
    """Names the file that it looked for."""
    assert "config.json" in fault(WanVAE(model=str(tmp_path)))
    said = fault(WanVAE(model=str(folder), subfolder="vae_of_another_name"))
    assert "(folder 'vae_of_another_name' in it) can't be loaded as AutoencoderKLWan" in said
    assert "config.json" in said


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_a_name_that_cannot_be_reached(monkeypatch):
    """Without network: what to do, and that a gated repository wants its terms accepted."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for spec in (WanVAE(), LTX2Audio(), UMT5(), MMAudio(model="nobody/nothing")):
        said = fault(spec)
        assert f"model {spec.model!r} (folder {spec.subfolder!r} in it) can't be loaded as" in said
        assert "`hf auth login`" in said
    assert "tokenizer 'nobody/nothing'" in fault(toys.umt5(tokenizer="nobody/nothing"))


def test_another_class(folder, tmp_path):
    """Which diffusers would fill with random numbers."""
    assert "AutoencoderKLWan: it holds a MMAudioVAE" in fault(
        WanVAE(model=str(folder), subfolder="audio_vae")
    )
    assert "MMAudioVAE: it holds a AutoencoderKLWan" in fault(
        MMAudio(model=str(folder), subfolder="vae")
    )
    assert "BigVGAN16k: it holds a AutoencoderKLWan" in fault(
        MMAudio(model=str(folder), vocoder_subfolder="vae")
    )
    said = fault(UMT5(model=str(folder), subfolder="vae"))
    assert "UMT5EncoderModel: it has no config.json that names a type of model" in said
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    said = fault(UMT5(model=str(tmp_path), subfolder=""))
    assert "UMT5EncoderModel: it holds a model of the type 't5', not 'umt5'" in said


def test_another_form(folder):
    """Of the right class."""
    assert "has mel_bins 80, but the form '44k' 128; change form" in fault(
        MMAudio(form="44k", model=str(folder))
    )


@pytest.mark.parametrize(
    ("name", "cut"),
    [("vae", "decoder.conv_in.weight"), ("text_encoder", "encoder.final_layer_norm.weight")],
)
def test_a_file_that_lacks_weights(folder, tmp_path, name, cut):
    """Names one."""
    (tmp_path / name).mkdir()
    for file in (folder / name).iterdir():
        if file.suffix == ".safetensors":
            tensors = load_file(file)
            del tensors[cut]
            save_file(tensors, tmp_path / name / file.name, metadata={"format": "pt"})
        else:
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    spec = WanVAE if name == "vae" else UMT5
    said = fault(spec(model=str(tmp_path)))
    assert f"1 of its weights are missing there or of another shape, such as {cut}" in said

"""Weights are loaded exactly as saved; errors are clear, in one line."""

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
    """A complete model folder, as diffusers and transformers save it."""
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
    "ltx2": (LTX2Audio(subfolder="ltx_vae", vocoder_subfolder="ltx_vocoder"), toys.AT_24K),
}


def saved(folder: Path) -> dict[str, torch.Tensor]:
    """The weights in a folder."""
    return load_file(next(folder.glob("*.safetensors")))


def same(frozen: Frozen, *folders: Path) -> bool:
    """Whether the weights are those of the folders, except MMAudio's unused front end."""
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
def test_codecs_load_the_saved_weights(folder, name):
    """And they encode and decode with them."""
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
        latents = codec.encode(torch.zeros(1, 1, 500))
        assert codec.decode(latents).shape == (1, 1, codec.samples(latents.shape[1]))


def test_umt5_loads_the_saved_weights(folder):
    """With the tokenizer beside it; without subfolders if the folder itself has the encoder."""
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


def test_the_setting_determines_the_precision(folder):
    """Independently of the file's type."""
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        for spec, format in SPECS.values():
            frozen = (
                attrs.evolve(spec, model=str(folder), precision=precision)
                .build(format=format)
                .frozen
            )
            assert {weight.dtype for weight in frozen.parameters()} == {dtype}


def fault(spec, format=toys.VIDEO) -> str:
    """The error of building it, which must be one line."""
    with pytest.raises(ValueError) as caught:
        spec.build(format=format, **({"codecs": AV()} if isinstance(spec, UMT5) else {}))
    assert not isinstance(caught.value, AssemblyError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    """It isn't looked up on the Hub."""
    for spec in (WanVAE, MMAudio, LTX2Audio, UMT5):
        message = fault(spec(model=str(tmp_path / "nothing")))
        assert f"there is no folder '{tmp_path / 'nothing'}'" in message
        assert "set `model` to a folder with it, or to a repository on the Hub" in message


def test_a_folder_without_the_model_is_named(folder, tmp_path):
    """With the missing file."""
    assert "config.json" in fault(WanVAE(model=str(tmp_path)))
    message = fault(WanVAE(model=str(folder), subfolder="vae_of_another_name"))
    assert "(its folder 'vae_of_another_name') can't be loaded as AutoencoderKLWan" in message
    assert "config.json" in message


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_an_unreachable_repository_is_named(monkeypatch):
    """Without network; the error includes the remedy for gated repositories."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for spec in (WanVAE(), LTX2Audio(), UMT5(), MMAudio(model="nobody/nothing")):
        message = fault(spec)
        assert f"model {spec.model!r} (its folder {spec.subfolder!r}) can't be loaded as" in message
        assert "`hf auth login`" in message
    assert "tokenizer 'nobody/nothing'" in fault(toys.umt5(tokenizer="nobody/nothing"))


def test_weights_of_another_class_are_refused(folder, tmp_path):
    """Diffusers would initialise the missing weights randomly."""
    assert "AutoencoderKLWan: it is a MMAudioVAE" in fault(
        WanVAE(model=str(folder), subfolder="audio_vae")
    )
    assert "MMAudioVAE: it is a AutoencoderKLWan" in fault(
        MMAudio(model=str(folder), subfolder="vae")
    )
    assert "BigVGAN16k: it is a AutoencoderKLWan" in fault(
        MMAudio(model=str(folder), vocoder_subfolder="vae")
    )
    message = fault(UMT5(model=str(folder), subfolder="vae"))
    assert "UMT5EncoderModel: it has no config.json with a model_type" in message
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    message = fault(UMT5(model=str(tmp_path), subfolder=""))
    assert "UMT5EncoderModel: it is a model of type 't5', not 'umt5'" in message


def test_weights_of_another_form_are_refused(folder):
    """Even if the class is right."""
    assert "has mel_bins 80, but the form '44k' 128; change form" in fault(
        MMAudio(form="44k", model=str(folder))
    )


@pytest.mark.parametrize(
    ("name", "cut"),
    [("vae", "decoder.conv_in.weight"), ("text_encoder", "encoder.final_layer_norm.weight")],
)
def test_missing_weights_are_named(folder, tmp_path, name, cut):
    (tmp_path / name).mkdir()
    for file in (folder / name).iterdir():
        if file.suffix == ".safetensors":
            tensors = load_file(file)
            del tensors[cut]
            save_file(tensors, tmp_path / name / file.name, metadata={"format": "pt"})
        else:
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    spec = WanVAE if name == "vae" else UMT5
    message = fault(spec(model=str(tmp_path)))
    assert f"1 of its weights are missing or have another shape, such as {cut}" in message

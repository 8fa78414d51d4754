"""Conversion of MMAudio's files: norms are folded into the weights, nothing else changes."""

from __future__ import annotations

import attrs
import diffusers_toys as toys
import pytest
import torch
from diffusers import MMAudioVAE, MMAudioVocoder

from harmony_diffusers.bigvgan import BigVGAN16k
from harmony_diffusers.convert_mmaudio import convert, main
from harmony_diffusers.mmaudio_vae import MMAudio

MEL = {name: value for name, value in toys.MEL.items() if name not in ("mel_bins", "sample_rate")}


def originals(folder, form):
    """Files in MMAudio's layout, with weight_norm's two tensors, and their tiny models."""
    torch.manual_seed(0)
    bands = {"16k": 80, "44k": 128}[form]
    config, sizes = MEL, toys.VOCODER | {"num_mels": bands}
    rates = {"16k": 16000, "44k": 44100}[form]
    vae = MMAudioVAE(**config, mel_bins=bands, sample_rate=rates).vae
    vocoder = (BigVGAN16k if form == "16k" else MMAudioVocoder)(**sizes)
    tensors = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    for name, tensor in tensors.items():
        if tensor.ndim == 3 and not name.startswith("data_"):
            tensors[name] = torch.randn(tensor.shape)
    torch.save(tensors, folder / "vae.pth")
    normed = {}
    for name, tensor in vocoder.state_dict().items():
        if name.endswith("weight"):
            normed |= {
                f"{name}_v": torch.randn(tensor.shape),
                f"{name}_g": torch.rand(len(tensor), 1, 1),
            }
        else:
            normed[name] = tensor
    torch.save({"generator": normed}, folder / "vocoder.pt")
    return tensors, normed, config, sizes, rates


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values:UserWarning")
@pytest.mark.parametrize("form", ["16k", "44k"])
def test_mmaudio_loads_converted_files(form, tmp_path):
    """Output channels of the autoencoder's convolutions have norm 1; the vocoder equals torch's."""
    tensors, normed, config, sizes, rate = originals(tmp_path, form)
    convert(
        tmp_path / "vae.pth",
        tmp_path / "vocoder.pt",
        tmp_path / "model",
        form,
        config=config,
        vocoder_config=sizes,
    )
    codec = MMAudio(form=form, model=str(tmp_path / "model")).build(
        format=attrs.evolve(toys.SOUND, sample_rate=rate)
    )
    made = codec.decode(codec.encode(torch.zeros(1, 1, 500)))
    assert made.shape == (1, 1, codec.samples(codec.latents(500)))
    for name, tensor in codec._vae.state_dict().items():
        if tensor.ndim == 3 and not name.startswith("data_"):
            assert torch.allclose(
                tensor.flatten(1).norm(dim=1), torch.ones(len(tensor)), atol=1e-2
            ), name
            assert (
                torch.nn.functional.cosine_similarity(
                    tensor.flatten(1), tensors[name].flatten(1)
                ).min()
                > 1 - 1e-6
            ), name
        else:
            assert torch.equal(tensor, tensors[name]), name
    for name, tensor in codec._vocoder.state_dict().items():
        if name.endswith("weight"):
            wanted = torch._weight_norm(normed[f"{name}_v"], normed[f"{name}_g"], 0)
            assert torch.allclose(tensor, wanted, atol=1e-6), name
        else:
            assert torch.equal(tensor, normed[name]), name


def test_files_with_other_tensors_are_refused(tmp_path):
    """The error names the file and the missing tensors; a file without tensors is refused too."""
    *_, config, sizes, _ = originals(tmp_path, "16k")
    with pytest.raises(
        ValueError,
        match=(
            r"(?s)vocoder.pt: not the weights of"
            r" MMAudioAutoencoder.*encoder.conv_in.weight"
        ),
    ):
        convert(
            tmp_path / "vocoder.pt",
            tmp_path / "vae.pth",
            tmp_path / "model",
            config=config,
            vocoder_config=sizes,
        )
    (tmp_path / "text.pt").write_text("not a pickle")
    with pytest.raises(ValueError, match=r"text\.pt: can't be read as a file of tensors"):
        convert(tmp_path / "text.pt", tmp_path / "vocoder.pt", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_command_line_reports_errors_without_a_traceback(tmp_path, monkeypatch):
    (tmp_path / "text.pt").write_text("not a pickle")
    monkeypatch.setattr(
        "sys.argv",
        [
            "convert",
            str(tmp_path / "text.pt"),
            str(tmp_path / "text.pt"),
            str(tmp_path / "model"),
            "--form",
            "44k",
        ],
    )
    with pytest.raises(SystemExit, match=r"text\.pt: can't be read"):
        main()

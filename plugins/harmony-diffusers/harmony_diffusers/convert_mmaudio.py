"""Convert MMAudio's files for `mmaudio-vae`: `python -m harmony_diffusers.convert_mmaudio VAE
VOCODER FOLDER`.

VAE is v1-16.pth or v1-44.pth, VOCODER best_netG.pt (16 kHz) or bigvgan_generator.pt (44.1 kHz).
Only tensors are loaded from them. The names are those of diffusers; norms are folded into the
weights:
  autoencoder  w <- w / (||w|| + 1e-4 sqrt(n)) for each output channel of n numbers
  (arXiv:2312.02696, forced weight normalisation)
  vocoder      w <- g v / ||v|| (torch's weight_norm)
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harmony_diffusers.mmaudio_vae import FORMS


def convert(
    vae: Path,
    vocoder: Path,
    folder: Path,
    form: str = "16k",
    *,
    config: Mapping[str, Any] = {},
    vocoder_config: Mapping[str, Any] = {},
) -> None:
    """Write `folder`/audio_vae and `folder`/vocoder.

    The two configs are for models of another size. Raises ValueError, naming tensors, if a file
    lacks tensors or has others.
    """
    from diffusers import MMAudioVAE, MMAudioVocoder

    from harmony_diffusers.bigvgan import BigVGAN16k

    whole: Any = MMAudioVAE(**{**FORMS[form], **config})
    _fill(whole.vae, {name: _magnitude(tensor) for name, tensor in _read(vae).items()}, vae)
    generator: Any = (BigVGAN16k if form == "16k" else MMAudioVocoder)(**vocoder_config)
    _fill(generator, _without_weight_norm(_read(vocoder)), vocoder)
    whole.save_pretrained(folder / "audio_vae")
    generator.save_pretrained(folder / "vocoder")


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; those of the vocoder's are under "generator"."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling another kind of file can raise anything
        raise ValueError(
            f"{path}: can't be read as a file of tensors: {' '.join(str(error).split())[:200]}"
        ) from error
    return dict(found.get("generator", found))


def _magnitude(tensor: Tensor) -> Tensor:
    """A convolution's weights [out, in, k] with output channels of norm 1; others unchanged."""
    if tensor.ndim != 3 or tensor.shape[0] == 1:  # means and deviations are [1, bands, 1]
        return tensor.float()
    lengths = torch.linalg.vector_norm(tensor.float(), dim=(1, 2), keepdim=True)
    return tensor.float() / (lengths + 1e-4 * math.sqrt(tensor[0].numel()))


def _without_weight_norm(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """NAME.weight_g [n, 1, 1] and NAME.weight_v [n, ...] -> NAME.weight."""
    plain = {
        name: tensor.float()
        for name, tensor in tensors.items()
        if not name.endswith(("weight_g", "weight_v"))
    }
    for name, v in tensors.items():
        if name.endswith("weight_v"):
            stem = name.removesuffix("_v")
            lengths = torch.linalg.vector_norm(v.float(), dim=(1, 2), keepdim=True)
            plain[stem] = tensors[f"{stem}_g"].float() * v.float() / lengths
    return plain


def _fill(model: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: not the weights of {type(model).__name__}, or of another form: {error}"
        ) from error


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m harmony_diffusers.convert_mmaudio",
        description=(__doc__ or "").partition(":")[0],
    )
    parser.add_argument("vae", type=Path, help="v1-16.pth, or v1-44.pth")
    parser.add_argument("vocoder", type=Path, help="best_netG.pt, or bigvgan_generator.pt")
    parser.add_argument("folder", type=Path, help="folder for audio_vae and vocoder")
    parser.add_argument(
        "--form", choices=sorted(FORMS), default="16k", help="form of the two models (default: 16k)"
    )
    given = parser.parse_args()
    try:
        convert(given.vae, given.vocoder, given.folder, given.form)
    except ValueError as error:
        raise SystemExit(f"{error}") from None


if __name__ == "__main__":
    main()

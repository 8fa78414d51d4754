"""Enlarge a clip for the second stage of LTX-2: `python -m harmony_ltx2.upsample SMALL LARGE`."""

from __future__ import annotations

import argparse
from pathlib import Path

import attrs

from harmony_ltx2.upsampler import LTX2Upsampler
from harmony_ltx2.video import LTX2Video, LTX2VideoCodec
from harmony_parts.av import Format
from harmony_parts.errors import HarmonyError
from harmony_parts.media.clip import Clip


def enlarge(clip: Clip, video: LTX2Video, upsampler: LTX2Upsampler, device: str = "cpu") -> Clip:
    """The clip with frames of twice the height and width; its sound stays.

    Raises ValueError if the weights can't be loaded or the frames have a size that they don't take.
    """
    if clip.frames is None:
        raise ValueError("the clip has no frames to enlarge")
    count, height, width, _ = clip.frames.shape
    form = Format(clip.fps, height, width, clip.sample_rate, clip.seconds)
    vae = video.autoencoder().to(device)
    small = LTX2VideoCodec(video, form, vae)
    network = upsampler.build(small).to(device)
    larger = network(small.encode(clip.frames[None]))
    large = LTX2VideoCodec(
        video,
        attrs.evolve(
            form,
            height=height * larger.shape[2] // small.grid[0],
            width=width * larger.shape[3] // small.grid[1],
        ),
        vae,
    )
    return attrs.evolve(clip, frames=large.decode(larger)[0, :count].cpu())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m harmony_ltx2.upsample", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("small", type=Path, help="the clip of the first stage")
    parser.add_argument("large", type=Path, help="file to write: the draft of the second stage")
    parser.add_argument(
        "--model",
        default=LTX2Upsampler().model,
        help="a folder in diffusers' layout, or a name on the Hub (default: %(default)s)",
    )
    parser.add_argument(
        "--revision", default="", help="branch, tag or commit of the repository on the Hub"
    )
    parser.add_argument(
        "--tile", type=int, default=512, help="pixels of a piece that is coded at a time; 0: all"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: %(default)s)")
    given = parser.parse_args()
    named = {"model": given.model, "revision": given.revision, "precision": "bfloat16"}
    try:
        clip = Clip.read(given.small)
        video = LTX2Video(**named, tile=given.tile)
        enlarge(clip, video, LTX2Upsampler(**named), given.device).save(given.large)
    except (HarmonyError, ValueError, OSError) as error:
        raise SystemExit(f"{error}") from None
    print(f"harmony generate ... --draft {given.large} --strength 0.91")


if __name__ == "__main__":
    main()

"""reference/sizes.txt: letters and tensor shapes, included by explanation/shapes.md."""

from __future__ import annotations

from generator.markdown import table
from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.assembly.read import read_recipe

LETTERS = {
    "B": "clips in a batch",
    "F": "frames of a clip",
    "T_v": "video latents in time",
    "T_a": "audio latents in time",
    "H": "rows of the latent grid",
    "W": "columns of the latent grid",
    "C_v": "channels of a video latent",
    "C_a": "channels of an audio latent",
    "S": "tokens of a video latent: patches of p x p latents",
    "D": "width of a branch",
    "h": "attention heads",
    "d": "width of a head, D / h",
    "N": "layers, each a joint block",
    "R": "latents of the reference sound, at most",
    "L": "tokens of a condition, or of all conditions of a stream",
    "D_c": "width of a condition's tokens",
    "U": "distinct times of a stream in a sample",
}
PAPER = {
    "B": 1,
    "F": 121,
    "T_v": 31,
    "T_a": 157,
    "H": 44,
    "W": 80,
    "C_v": 48,
    "C_a": 20,
    "S": 22 * 40,
    "D": 3072,
    "h": 24,
    "d": 128,
    "N": 30,
    "R": 94,
    "height": 704,
    "width": 1280,
}
"""Five seconds of Wan2.2-TI2V-5B at 704 x 1280 pixels and 24 frames per second, and MMAudio latents
at 31.25 per second, as in Ovi; R is three seconds.
"""
TENSORS = {
    "frames of a clip": "B, F, height, width, 3",
    "video latents": "B, T_v, H, W, C_v",
    "audio latents": "B, T_a, C_a",
    "`Times.values`, `Times.index` of the video": "B, U; B, T_v",
    "a text condition: tokens, mask": "B, L, D_c; B, L",
    "reference image: tokens, mask": "B, 1, H, W, C_v; B, 1",
    "reference sound: tokens, mask": "B, R, C_a; B, R",
    "hidden states of the video": "B, T_v, S, D",
    "hidden states of the audio": "B, T_a, 1, D",
    "the audio branch's sequence: reference, target, words": "B, R + T_a + L, D",
    "modulation, for each distinct time": "B, U, 6, D",
    "rotary table of the video (cos, sin)": "T_v, S, d / 2, 2",
    "video attends to audio: q; k and v": "B, T_v, S, h, d; B, T_a, 1, h, d",
    "video attends to audio: start and end of each window": "T_v; T_v",
    "audio attends to video: q; k and v": "B, T_a, 1, h, d; B, T_v, S, h, d",
    "audio attends to video: start and end of each window": "T_a; T_a",
    "clock of the video, of the audio (float64)": "T_v, 2; T_a, 2",
    "anchors: static video, mute audio": "B, T_v, H, W, C_v; B, T_a, C_a",
}


def sizes(parts: Catalogue) -> str:
    """Two tables: the letters, and the shapes of tensors, for the demo and for the paper."""
    demo = demo_sizes(parts)
    lines = table(
        ["letter", "meaning", "demo", "paper"],
        ([f"`{k}`", v, str(demo.get(k, "")), str(PAPER.get(k, ""))] for k, v in LETTERS.items()),
    )
    rows = (
        [what, *(f"`{_shape(shape, values)}`" for values in ({}, demo, PAPER))]
        for what, shape in TENSORS.items()
    )
    return "\n".join([*lines, *table(["tensor", "shape", "demo", "paper"], rows)])


def demo_sizes(parts: Catalogue) -> dict[str, int]:
    """The value of each letter in the demo's recipe."""
    recipe = read_recipe("demo", parts=parts)
    form, denoiser = recipe.format, recipe.denoiser
    video, audio = recipe.codecs.video.build(format=form), recipe.codecs.audio.build(format=form)
    longest = max(
        encoder.seconds_max
        for encoder in recipe.encoders.values()
        if hasattr(encoder, "seconds_max")
    )
    width, heads = denoiser.video.width, denoiser.video.heads
    return {
        "B": 1,
        "F": form.frames,
        "T_v": video.latents(form.frames),
        "T_a": audio.latents(form.samples(form.frames)),
        "H": video.grid[0],
        "W": video.grid[1],
        "C_v": video.channels,
        "C_a": audio.channels,
        "S": video.grid[0] * video.grid[1] // denoiser.video.patch**2,
        "D": width,
        "h": heads,
        "d": width // heads,
        "N": denoiser.layers,
        "R": audio.latents(round(longest * form.sample_rate)),
        "height": form.height,
        "width": form.width,
    }


def _shape(shapes: str, values: dict[str, int]) -> str:
    """ "B, T; B" -> "[1, 24] [1]". Sums and quotients are computed if all letters have values."""

    def number(term: str) -> str:
        words = [str(values.get(word, word)) for word in term.split()]
        if values and all(word.isdecimal() or word in "+/" for word in words):
            left, *rest = words
            total = int(left)
            for sign, right in zip(rest[::2], rest[1::2]):
                total = total + int(right) if sign == "+" else total // int(right)
            return str(total)
        return " ".join(words)

    return " ".join(
        f"[{', '.join(number(term) for term in shape.split(', '))}]" for shape in shapes.split("; ")
    )

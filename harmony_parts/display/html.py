"""How values look in a notebook: HTML that holds its pictures and media itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape
from typing import Any

WIDTH = 720  # pixels of a strip of frames and of a wave
FRAME, WAVE = 160, 48  # the largest width of one frame, and the height of a wave
FRAMES, CLIPS = 8, 4  # the most frames of a strip, and the most clips of a batch of latents


def clip_html(title: str, frames: Any, samples: Any) -> str:
    """`frames` uint8 [T, H, W, 3] above the wave of `samples` [N]; arrays, either may be None."""
    from harmony_parts.display.pictures import film_strip, wave

    width = WIDTH if frames is None else min(WIDTH, FRAME * min(FRAMES, len(frames)))
    images = [] if frames is None else [film_strip(frames, width, FRAMES)]
    if samples is not None:
        images.append(wave(samples, width, WAVE))
    return box(title, *map(picture, images))


def latents_html(title: str, streams: Mapping[str, Any]) -> str:
    """The title, and pictures of those of `streams` that are latents, for the first clips."""
    return box(title, *(strip for value in streams.values() for strip in _strips(value)))


def _strips(value: Any) -> list[str]:
    """Pictures of video latents [B, T, H, W, C] or audio latents [B, T, C]; of others none."""
    shape = tuple(getattr(value, "shape", ()))
    if len(shape) not in (3, 5) or 0 in shape or getattr(value, "is_meta", False):
        return []
    from PIL import Image

    from harmony_parts.display.pictures import film_strip, in_colours, in_grey

    first = value[:CLIPS]
    array = first.detach().float().cpu().numpy() if hasattr(first, "detach") else first
    if len(shape) == 5:
        width = min(WIDTH, FRAME * min(FRAMES, shape[1]))
        return [picture(film_strip(clip, width, FRAMES)) for clip in in_colours(array)]
    return [
        picture(Image.fromarray(in_grey(clip)).resize((WIDTH, 2 * WAVE), Image.Resampling.NEAREST))
        for clip in array
    ]


def player(media: bytes, kind: str, width: int = 0) -> str:
    """A player of a file of type `kind`, "video/mp4" or "audio/flac"; `width` in pixels."""
    tag = kind.partition("/")[0]
    size = f' width="{width}"' if width else ""
    data = base64.b64encode(media).decode()
    return (
        f'<{tag} controls loop{size} style="display:block" src="data:{kind};base64,{data}"></{tag}>'
    )


def picture(image: Any) -> str:
    """A PIL image as an HTML image."""
    file = io.BytesIO()
    image.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img style="display:block" src="data:image/png;base64,{data}">'


def box(title: str, *pieces: str) -> str:
    """Pieces of HTML below their title, which is plain text."""
    return f"<div><code>{escape(title)}</code>{''.join(pieces)}</div>"

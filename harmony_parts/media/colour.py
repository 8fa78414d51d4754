"""From a video's colours, as its tags describe them, to RGB of BT.709 for a display.

Frames of common video are decoded by swscale, which honours matrix and range. What needs more, an
HDR transfer, other primaries, or a matrix that swscale doesn't have, goes through zscale.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from harmony_parts.errors import warn_caller
from harmony_parts.media import ffmpeg
from harmony_parts.media.probe import VideoStream

WHITE = 203  # cd/m2 of diffuse white in PQ and HLG, ITU-R BT.2408
PEAK = 1000  # cd/m2 that become full white; usual for mastering, and HLG's nominal peak
# Linear light up to this share of diffuse white is kept; what is brighter is compressed, up to
# PEAK. Diffuse white then reads 249 of 255.
KEPT = 0.9
HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
# Shown alike by displays and players: their values are kept.
SDR = {"unknown", "bt709", "smpte170m", "bt2020-10", "bt2020-12", "bt470m", "bt470bg", "gamma22"}
SDR |= {"gamma28", "iec61966-2-1", "iec61966-2-4", "bt1361e"}
OTHER_TRANSFERS = {"linear", "log100", "log316", "smpte240m"}
PRIMARIES = {"bt470m", "bt470bg", "smpte170m", "smpte240m", "film", "bt2020", "smpte428"}
PRIMARIES |= {"smpte431", "smpte432", "ebu3213", "jedec-p22"}
SWSCALE = {"unknown", "gbr", "bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc"}
OTHER_MATRICES = {"ycgco", "bt2020c", "chroma-derived-nc", "chroma-derived-c", "ictcp"}


def to_rgb(path: Path, video: VideoStream, width: int, height: int) -> list[str]:
    """The filters that make rgb24 frames of this size, full range, with BT.709's primaries.

    Warns once per file of colours that can't be converted.
    """
    by_zscale = (
        video.transfer in HDR.keys() | OTHER_TRANSFERS
        or video.primaries in PRIMARIES
        or video.matrix in OTHER_MATRICES
    )
    unknown = [
        f"{what} {name!r}"
        for what, name, known in (
            ("transfer", video.transfer, HDR.keys() | SDR | OTHER_TRANSFERS),
            ("primaries", video.primaries, PRIMARIES | {"unknown", "bt709"}),
            ("matrix", video.matrix, SWSCALE | OTHER_MATRICES),
        )
        if name not in known
    ]
    if unknown:
        _warn(f"its {' and '.join(unknown)} can't be converted", path)
    elif by_zscale and not _has_zscale():
        _warn("this ffmpeg lacks zscale or tonemap, which its colours need", path)
    elif by_zscale:
        return _by_zscale(video, width, height)
    flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    return [
        f"scale={width}:{height}:in_color_matrix={_matrix(video)}:out_range=full:flags={flags}",
        "format=rgb24",
    ]


def _by_zscale(video: VideoStream, width: int, height: int) -> list[str]:
    hdr = video.transfer in HDR
    matrix = _matrix(video) if video.matrix == "unknown" and not hdr else video.matrix
    tags = {
        # zscale's own spelling of some
        "min": {
            "unknown": "bt2020nc",
            "auto": "gbr",
            "bt601": "smpte170m",
            "smpte240m": "240m",
        }.get(matrix, matrix),
        "tin": "bt709" if video.transfer in SDR else video.transfer,
        "pin": ("bt2020" if hdr else "bt709") if video.primaries == "unknown" else video.primaries,
    }
    given = ":".join(f"{key}={name}" for key, name in tags.items())
    size = f"w={width}:h={height}:filter=bicubic"
    return [
        f"zscale={size}:{given}:t=linear:p=bt709:m=gbr:r=full:npl={WHITE}",
        "format=gbrpf32le",
        *([f"tonemap=mobius:param={KEPT}:peak={PEAK / WHITE}:desat=0"] if hdr else []),
        "zscale=t=bt709:m=gbr:r=full",
        "format=gbrp",
        "format=rgb24",
    ]


def _matrix(video: VideoStream) -> str:
    """ffmpeg's name of the colour matrix to decode with; "auto" is the tagged one."""
    # Only YCbCr has a matrix; RGB and grey sources need none.
    ycbcr = video.pixels.startswith(("yuv", "nv", "p0", "p2", "p4", "yuyv", "uyvy"))
    if video.matrix != "unknown" or not ycbcr:
        return "auto"
    return "bt709" if min(video.width, video.height) >= 720 else "bt601"


@cache
def _has_zscale() -> bool:
    listed = ffmpeg.filters()
    return "zscale" in listed and "tonemap" in listed


def _warn(cause: str, path: Path) -> None:
    warn_caller(f"{path}: {cause}; its values are read as they are stored")

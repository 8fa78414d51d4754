"""Colours as a file's tags describe them: PQ, HLG, BT.2020, BT.601, both ranges."""

from __future__ import annotations

import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmony_parts.media import colour, ffmpeg
from harmony_parts.media.clip import Clip
from harmony_parts.media.probe import probe

SIZE = 32
BT2020 = {"colorspace": "bt2020nc", "color_primaries": "bt2020"}
# Kr and Kb of ITU-R BT.709, BT.601 and BT.2020
WEIGHTS = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}


def flat(path: Path, ycbcr: Any, tags: dict[str, str], full: bool = False) -> Path:
    """A lossless file with one flat 10-bit frame for each Y (0 to 1), Cb, Cr (-0.5 to 0.5)."""
    ycbcr = np.asarray(ycbcr, dtype=float)
    offset, scale = ([0, 512, 512], 1023) if full else ([64, 512, 512], [876, 896, 896])
    codes = (offset + ycbcr * scale).round().clip(0, 1023).astype("<u2")
    planes = [SIZE**2, SIZE**2 // 4, SIZE**2 // 4]
    data = b"".join(np.repeat(frame, planes).astype("<u2").tobytes() for frame in codes)
    tags = {**tags, "range": "pc" if full else "tv"}
    command = [ffmpeg.executable(), "-v", "error", "-y", "-f", "rawvideo"]
    command += ["-pix_fmt", "yuv420p10le", "-s", f"{SIZE}x{SIZE}", "-r", "8", "-i", "-", "-vf"]
    command += ["setparams=" + ":".join(f"{k}={v}" for k, v in tags.items()), "-c:v", "ffv1"]
    subprocess.run([*command, str(path)], input=data, check=True, timeout=60)
    return path


def greys(levels: Any) -> Any:
    return [[y, 0, 0] for y in levels]


def read(path: Path) -> Any:
    """The middle pixel of each frame, int [T, 3]; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frames = Clip.read(path).frames
    assert frames is not None
    return frames[:, SIZE // 2, SIZE // 2].numpy().astype(int)


def pq(nits: Any) -> Any:
    """The signal of a luminance in cd/m2, ITU-R BT.2100."""
    y = (np.asarray(nits) / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * y) / (1 + 2392 / 128 * y)) ** (2523 / 32)


def hlg_nits(signal: Any) -> Any:
    """The luminance of a grey HLG signal on a display of 1000 cd/m2, ITU-R BT.2100."""
    e = np.asarray(signal, dtype=float)
    scene = np.where(e <= 0.5, e**2 / 3, (np.exp((e - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 * scene**1.2


def on_display(nits: Any) -> Any:
    """The value of a grey of that luminance on a display whose white is 203 cd/m2, BT.1886."""
    return 255 * (np.asarray(nits) / 203) ** (1 / 2.4)


def test_pq_white_is_white_and_greys_keep_their_order(tmp_path: Path) -> None:
    nits = np.array([0, 1, 5, 20, 50, 100, 150, 180, 203, 250, 400, 1000, 4000])
    found = read(flat(tmp_path / "a.mkv", greys(pq(nits)), {**BT2020, "color_trc": "smpte2084"}))
    assert (found == found[:, :1]).all()
    kept = nits < 0.9 * 203
    np.testing.assert_allclose(found[kept, 0], on_display(nits[kept]), atol=1.5)
    assert 245 <= found[nits == 203][0, 0] <= 255
    steps = np.diff(found[:, 0])
    assert (steps >= 0).all()
    assert (steps[: int((nits <= 250).sum()) - 1] > 0).all()


def test_hlg_white_is_white(tmp_path: Path) -> None:
    """Its diffuse white is 75 % of the signal, ITU-R BT.2408."""
    signal = np.array([0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.85, 1])
    tags = {**BT2020, "color_trc": "arib-std-b67"}
    found = read(flat(tmp_path / "a.mkv", greys(signal), tags))[:, 0]
    kept = hlg_nits(signal) < 0.9 * 203
    np.testing.assert_allclose(found[kept], on_display(hlg_nits(signal)[kept]), atol=1.5)
    assert 245 <= found[6] <= 255
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_matrix_and_range_are_honoured(tmp_path: Path, matrix: str, full: bool) -> None:
    """With BT.709's primaries, so that RGB is the one that was encoded."""
    rgb = np.array([[0, 0, 0], [1, 1, 1], [0.5, 0.5, 0.5], [0.8, 0.1, 0.3], [0.1, 0.6, 0.9]])
    red, blue = WEIGHTS[matrix]
    y = rgb @ [red, 1 - red - blue, blue]
    cb, cr = (rgb[:, 2] - y) / (2 - 2 * blue), (rgb[:, 0] - y) / (2 - 2 * red)
    tags = {"colorspace": matrix, "color_primaries": "bt709", "color_trc": "bt709"}
    found = read(flat(tmp_path / "a.mkv", np.stack([y, cb, cr], 1), tags, full))
    np.testing.assert_allclose(found, 255 * rgb, atol=1.6)


def primaries_to_bt709(corners: Any) -> Any:
    """The matrix of linear RGB with these primaries (x, y), white D65, to RGB of BT.709."""

    def to_xyz(corners: Any) -> Any:
        xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in corners]).T
        white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
        return xyz * np.linalg.solve(xyz, white)

    bt709 = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)]
    return np.linalg.solve(to_xyz(bt709), to_xyz(corners))


@pytest.mark.parametrize(
    ("matrix", "primaries", "corners"),
    [
        ("bt2020nc", "bt2020", [(0.708, 0.292), (0.170, 0.797), (0.131, 0.046)]),
        ("smpte170m", "smpte170m", [(0.630, 0.340), (0.310, 0.595), (0.155, 0.070)]),
        ("smpte170m", "bt470bg", [(0.64, 0.33), (0.29, 0.60), (0.15, 0.06)]),
    ],
)
def test_primaries_are_honoured(tmp_path: Path, matrix: str, primaries: str, corners: Any) -> None:
    """In linear light, and clipped where BT.709 has no such colour."""
    rgb = np.array([[1, 1, 1], [0.4, 0.4, 0.4], [0.7, 0.5, 0.4], [0.3, 0.5, 0.6], [1, 0, 0]])
    red, blue = WEIGHTS[matrix]
    y = rgb @ [red, 1 - red - blue, blue]
    cb, cr = (rgb[:, 2] - y) / (2 - 2 * blue), (rgb[:, 0] - y) / (2 - 2 * red)
    tags = {"colorspace": matrix, "color_primaries": primaries, "color_trc": "bt709"}
    found = read(flat(tmp_path / "a.mkv", np.stack([y, cb, cr], 1), tags))
    linear = (rgb**2.4) @ primaries_to_bt709(corners).T
    np.testing.assert_allclose(found, 255 * linear.clip(0, 1) ** (1 / 2.4), atol=2.5)


def test_pq_without_other_tags_is_taken_for_bt2020(tmp_path: Path) -> None:
    found = read(flat(tmp_path / "a.mkv", greys(pq([50, 203])), {"color_trc": "smpte2084"}))
    np.testing.assert_allclose(found[0], on_display(50), atol=1.5)
    assert (found[1] >= 245).all()


def test_a_size_and_a_part_of_hdr_video_can_be_read(tmp_path: Path) -> None:
    tags = {**BT2020, "color_trc": "smpte2084"}
    path = flat(tmp_path / "a.mkv", greys(pq([10, 50, 203, 203])), tags)
    clip = Clip.read(path, start=0.25, seconds=0.25, height=16, width=24)
    assert clip.frames is not None
    assert clip.frames.shape == (2, 16, 24, 3)
    assert int(clip.frames.min()) >= 245


def test_what_cannot_be_converted_is_warned_about(tmp_path: Path, monkeypatch: Any) -> None:
    path = flat(tmp_path / "a.mkv", greys([0.5]), {**BT2020, "color_trc": "smpte428"})
    with pytest.warns(UserWarning, match=r"a.mkv: its transfer 'smpte428' can't be converted"):
        Clip.read(path)
    path = flat(tmp_path / "b.mkv", greys([0.5]), {**BT2020, "color_trc": "smpte2084"})
    colour._has_zscale.cache_clear()
    monkeypatch.setattr(ffmpeg, "filters", lambda: {"scale"})
    with pytest.warns(UserWarning, match=r"b.mkv: this ffmpeg lacks zscale or tonemap"):
        Clip.read(path)
    colour._has_zscale.cache_clear()


def test_common_video_is_decoded_as_before(tmp_path: Path) -> None:
    """By swscale alone, for files without tags, and with those of this library."""
    tags = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"}
    for number, given in enumerate(({}, tags)):
        video = probe(flat(tmp_path / f"{number}.mkv", greys([0.5]), given)).video
        assert video is not None
        assert [f.partition("=")[0] for f in colour.to_rgb(tmp_path, video, 8, 8)] == [
            "scale",
            "format",
        ]

"""What the plugin declares, prints and refuses, and its two ways for other models."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import attrs
import pytest
import small
from harmony_bench.audiobox import AudioBoxAesthetics
from harmony_bench.dinov3 import DINOv3
from harmony_bench.from_callable import FromCallable
from harmony_bench.raft import RAFT
from harmony_bench.score_file import ScoreFile
from harmony_bench.syncnet import SyncNet
from harmony_bench.whisper import Whisper

from harmony_parts.assembly.catalogue import Catalogue
from harmony_parts.errors import BrokenPart
from harmony_parts.metrics.compare import compare
from harmony_parts.metrics.protocol import Reference
from harmony_parts.testing.contracts.metrics import check_metric

PARTS = {
    "audiobox-aesthetics": AudioBoxAesthetics,
    "syncnet": SyncNet,
    "whisper": Whisper,
    "dinov3": DINOv3,
    "raft": RAFT,
    "callable": FromCallable,
    "score-file": ScoreFile,
}
FORBIDDEN = ("aesthetic_predictor_v2_5", "pyiqa", "imagebind", "facenet_pytorch", "dlib")


def test_the_declarations_name_them():
    parts = Catalogue.discover(only=["bench"])
    assert {
        each.name: parts.load("metric", each.name)
        for each in parts.list("metric")
        if each.plugin == "bench"
    } == PARTS


def test_declaring_imports_no_network():
    code = "import sys, harmony_bench; print('torch' in sys.modules, 'cv2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


def test_nothing_that_licences_forbid_is_imported():
    """Nor by what the metrics import, all of which are imported above."""
    assert {cls.__module__ for cls in PARTS.values()} <= sys.modules.keys()
    assert not set(FORBIDDEN) & sys.modules.keys()


@pytest.mark.parametrize(
    ("package", "licence"),
    [
        ("audiobox_aesthetics", "Attribution 4.0 International"),
        ("syncnet-python", "MIT AND Apache-2.0"),
        ("transformers", "Apache"),
        ("torchvision", "BSD"),
        ("jiwer", "Apache"),
    ],
)
def test_licences_are_those_of_the_packages(package, licence):
    found = metadata(package)
    stated = [found.get(field, "") for field in ("License-Expression", "License")]
    assert licence in " ".join(stated + found.get_all("Classifier", []))


@pytest.mark.parametrize("name", ["audiobox", "dinov3", "raft", "syncnet", "whisper"])
def test_each_prints_name_licence_and_hash(name, request, capsys):
    given = request.getfixturevalue(name)
    given = given if isinstance(given, tuple) else (given,)
    spec = next(cls for part, cls in PARTS.items() if part.startswith(name))
    with small.small_wavlm():
        spec(*map(str, given)).build()
    said = capsys.readouterr().err
    for path in given:
        files = [path] if path.is_file() else list(path.glob("*.safetensors"))
        assert f"{path}: licence " in said
        for file in files:
            assert f"{file.name} sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}" in said
    stated = {"audiobox": "cc-by-4.0", "whisper": "apache-2.0", "dinov3": "DINOv3 License"}
    assert stated.get(name, "not stated in a README.md beside it") in said


@pytest.mark.parametrize("cls", [AudioBoxAesthetics, DINOv3, Whisper])
def test_a_folder_without_weights_is_refused(cls, tmp_path):
    with pytest.raises(BrokenPart, match=r"no \*\.safetensors in it"):
        cls(str(tmp_path)).build()
    with pytest.raises(BrokenPart, match="there is no such folder"):
        cls(str(tmp_path / "absent")).build()


@pytest.mark.parametrize("spec", [RAFT("no.pth"), SyncNet("no.model", "no.pth")])
def test_a_file_that_is_absent_is_refused(spec):
    with pytest.raises(BrokenPart, match=r"no such file; the weights are published at https://"):
        spec.build()


# --- functions and files --------------------------------------------------------------------------


@pytest.mark.parametrize("streams", ["both", "video", "audio"])
def test_contract_of_a_function(streams):
    check_metric(FromCallable("small:brightness", streams), clips=[small.clip(side=16)])


def test_a_function_is_called_for_re_paired_clips_too():
    clips = [small.clip(seconds, 16) for seconds in (1.0, 1.5, 2.0)]
    metric = FromCallable("small:product").build()
    found = compare(metric, clips, references=[Reference("a few words")] * 3)
    assert found["product"].difference is not None
    assert found["words"].paired == 3
    assert found["words"].repaired is None
    seen = metric.analyse(clips[2])
    shorter = metric.score(seen.video, metric.analyse(clips[0]).audio)
    cut = attrs.evolve(clips[2], frames=clips[2].frames[:10], waveform=clips[0].waveform)
    assert shorter["product"] == pytest.approx(small.product(cut, Reference())["product"])


@pytest.mark.parametrize("call", ["small", "small:absent", "absent_module:f", "small:NUMBER", ":x"])
def test_what_is_no_function_is_refused(call):
    with pytest.raises(BrokenPart, match="call: "):
        FromCallable(call).build()


def scores(folder: Path, *lines: object) -> str:
    file = folder / "scores.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(file)


def test_numbers_of_a_file_are_found_by_the_longest_end(tmp_path):
    file = scores(
        tmp_path,
        {"file": "a.mp4", "musiq": 1},
        "",
        {"file": "speech/a.mp4", "musiq": 2, "aesthetic": None},
        {"file": "b.mp4", "musiq": 3.5, "desync": 0.4},
    )
    metric = ScoreFile(file).build()

    def numbers(name):
        return metric.score(True, None, None, Reference(name=name))

    assert numbers("out/ambient/a.mp4") == {"musiq": 1}
    assert numbers("out/speech/a.mp4") == {"musiq": 2}
    assert numbers("b.mp4") == {"musiq": 3.5, "desync": 0.4}
    assert numbers("c.mp4") == numbers(None) == {}
    assert metric.reason(True, None, Reference(name="b.mp4")) == ""
    assert "has no number for it" in metric.reason(True, None, Reference(name="c.mp4"))


def test_contract_of_a_file(tmp_path):
    file = scores(tmp_path, {"file": "clip.mp4", "musiq": 68.25})
    check_metric(ScoreFile(file), clips=[small.clip(side=16)])


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (["{"], "line 1: this isn't JSON"),
        ([{"file": "a.mp4", "x": 1}, {"x": 1}], 'line 2: it must be an object with "file"'),
        ([{"file": "a.mp4", "x": "high"}], "line 1: x must be a finite number, not 'high'"),
        ([{"file": "a.mp4", "x": True}], "x must be a finite number"),
        (['{"file": "a.mp4", "x": NaN}'], "x must be a finite number"),
        ([{"file": "a.mp4"}, {"file": "a.mp4"}], "line 2: a.mp4 has a line already"),
    ],
)
def test_faults_of_a_file_are_named_by_line(tmp_path, lines, fault):
    with pytest.raises(BrokenPart, match=re.escape(fault)):
        ScoreFile(scores(tmp_path, *lines)).build()
    with pytest.raises(BrokenPart, match="can't be read"):
        ScoreFile(str(tmp_path / "absent.jsonl")).build()

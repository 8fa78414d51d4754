"""The page through gradio's client: what the buttons do."""

from __future__ import annotations

import shutil
import subprocess
import sys

import attrs
import pytest
import torch
from gradio_client import Client, handle_file

import harmony_parts as hp
from harmony_page.app import serve
from harmony_page.form import BOTH, FIELDS, GUIDED, PLAIN, SLIDERS
from harmony_page.knobs import OWN
from harmony_parts.errors import RunError


@pytest.fixture
def client(address) -> Client:
    """A client of the page."""
    return Client(address, verbose=False)


def asked(way: str = PLAIN, *sliders: float, guidance: str = OWN, **fields) -> list:
    """The values of the form."""
    values = {"seed": 0, "steps": 3, "seconds": 0, "overlap": 0, "strength": 0.6, **fields}
    words = dict.fromkeys(("prompt", "sound", "speech", "negative", "negative_sound"), "")
    numbers = [*sliders, *[0] * (SLIDERS - len(sliders))]
    return [*((words | values).get(name) for name in FIELDS), way, guidance, *numbers]


def words(result: tuple) -> list[str]:
    """The texts of a result, without its files."""
    return [each for each in result if isinstance(each, str)]


def test_make_shows_the_clip_with_its_sync_and_keeps_it(client, opened):
    """The sliders' values are those of the guidance."""
    result = client.predict(*asked(GUIDED, 4.5, 1.5, prompt="a red ball"), api_name="/make")
    assert words(result)[0].startswith("Made: guided, in ")
    made = opened.history.clips[0]
    assert (made.prompt, made.way, made.steps) == ("a red ball", "guided", 3)
    assert made.guidance == "sync-cfg (video 4.5, audio 1.5)"
    assert any("sync: " in text and "seed 0" in text for text in words(result))


def test_a_sum_has_the_sliders_of_its_terms(session, saved, tmp_path, elsewhere):
    """A model whose guidance is cfg + sync-cfg: each number is a slider, and reaches its term."""
    shutil.copytree(saved, tmp_path / "model")
    recipe = hp.read_recipe(tmp_path / "model" / "recipe.toml")
    both = hp.SumGuidance((hp.CFG(video=2.5, audio=1.5), hp.SyncCFG(video=2, audio=1.25)))
    recipe = attrs.evolve(recipe, sample=attrs.evolve(recipe.sample, guidance=both))
    (tmp_path / "model" / "recipe.toml").write_text(hp.write_recipe(recipe), encoding="utf-8")
    session.open(str(tmp_path / "model"))
    page, url = serve(session)
    try:
        parts = [each["props"] for each in page.config["components"] if each["type"] == "slider"]
        shown = [(each["label"], each["value"]) for each in parts if each["visible"]]
        names = ["cfg video", "cfg audio", "sync-cfg video", "sync-cfg audio"]
        assert shown[-4:] == list(zip(names, (2.5, 1.5, 2, 1.25), strict=True))
        assert len(shown) == 5, "and the one of a draft"
        values = asked(BOTH, 3, 1, 2, 1.5, prompt="a ball")
        Client(url, verbose=False).predict(*values, api_name="/make")
    finally:
        page.close()
    guided, plain = session.history.clips
    assert guided.guidance == "sum of cfg (video 3, audio 1) + sync-cfg (video 2, audio 1.5)"
    assert plain.guidance == "cfg (video 3, audio 1)", "SyncCFG alone is compared"


def test_a_given_sound_is_the_clips_sound(client, opened, tmp_path):
    """Uploaded, and heard in the clip: as long as it, and as loud."""
    wave = torch.sin(torch.arange(8000 * 0.75) * 0.3)[None] * 0.5
    file = hp.Clip(waveform=wave, sample_rate=8000).save(tmp_path / "tone.wav")
    client.predict(*asked(audio=handle_file(file)), api_name="/make")
    clip = hp.Clip.read(opened.history.path(opened.history.clips[0]))
    assert clip.seconds == pytest.approx(0.75, abs=0.05)
    assert clip.mono().square().mean().sqrt() == pytest.approx(0.5 / 2**0.5, rel=0.1)


def test_a_clip_goes_on(client, opened, tmp_path):
    """With `begin`, the result is both."""
    clip = opened.pipeline.generate("a ball", steps=2, progress=False)
    file = clip.save(tmp_path / "begin.mp4")
    client.predict(*asked(begin=handle_file(file)), api_name="/make")
    made = hp.Clip.read(opened.history.path(opened.history.clips[0]))
    assert made.seconds > clip.seconds + 0.2


def test_a_clip_is_changed(client, opened, tmp_path):
    """With `draft` and little noise it stays as it was; the slider without a draft does nothing."""
    clip = hp.Clip(torch.full((9, 16, 16, 3), 180, dtype=torch.uint8), 12)
    file = clip.save(tmp_path / "draft.mp4")
    client.predict(*asked(draft=handle_file(file), strength=0.05), api_name="/make")
    made = hp.Clip.read(opened.history.path(opened.history.clips[0]))
    assert len(made.frames) == 9
    assert (made.frames.float() - 180).abs().mean() < 12
    client.predict(*asked(strength=0.05, seconds=0.75), api_name="/make")
    other = hp.Clip.read(opened.history.path(opened.history.clips[0]))
    assert (other.frames.float() - 180).abs().mean() > 12


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"seconds": 51}, "51 s are requested"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"overlap": 2}, "the overlap of 2 s leaves nothing of a window"),
    ],
)
def test_what_cannot_be_made_is_refused_in_words(client, opened, fields, said):
    """As the status, without a clip."""
    result = client.predict(*asked(**fields), api_name="/make")
    assert said in words(result)[0]
    assert opened.history.clips == []


def test_a_refused_request_leaves_what_is_shown(client, opened):
    """The status and the clips are those of the request that is being made."""
    opened._busy.acquire()
    job = client.submit(*asked(), api_name="/make")
    job.result()
    assert [text for result in job.outputs() for text in words(result)] == []


def test_a_missing_model_is_refused_in_words(client, opened, tmp_path):
    """The former one stays."""
    result = client.predict(str(tmp_path / "nowhere"), api_name="/open")
    assert "nowhere: no such folder" in words(result)[0]
    assert "16 x 16 pixels" in opened.about()


def test_nothing_to_cancel_is_said(client, elsewhere):
    """And no test of the page has left the machine."""
    assert client.predict(api_name="/cancel") == "Nothing is being made."
    assert elsewhere == []


def test_a_port_that_is_taken_is_refused_in_words(opened, address):
    """The page that has it goes on."""
    with pytest.raises(RunError, match="choose others with --host and --port"):
        serve(opened, port=int(address.rstrip("/").rpartition(":")[2]))


def test_the_command_imports_neither_torch_nor_gradio():
    """So that `harmony --help` appears at once."""
    code = "import harmony_page.command, sys; assert not {'torch', 'gradio'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

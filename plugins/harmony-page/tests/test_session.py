"""One request at a time, cancelled and refused; no widget takes part."""

from __future__ import annotations

import gc
import weakref

import attrs
import pytest
import torch

import harmony_parts as hp
from harmony_page.history import NAME, History
from harmony_page.session import Busy, Cancelled, Session
from harmony_parts.errors import RequestError, RunError
from harmony_parts.models.known import learn

WAYS = {"plain": hp.NoGuidance(), "guided": hp.SyncCFG(video=3, audio=2)}
ASKED = hp.Request(prompt="a red ball", seed=3, steps=4)


def test_a_request_is_made_plain_and_guided_with_one_noise(opened):
    """The clips are those of the library, bit for bit up to the files' compression."""
    updates = list(opened.make(ASKED, WAYS))
    made = {update.way: update.made for update in updates if update.made}
    assert list(made) == ["plain", "guided"]
    for way, guidance in WAYS.items():
        expected = opened.pipeline.run(attrs.evolve(ASKED, guidance=guidance))
        saved = hp.Clip.read(opened.history.path(made[way]))
        assert expected.frames is not None
        assert saved.frames is not None
        off = (saved.frames.float() - expected.frames.float()).abs().mean()
        assert off < 12, "H.264 with half the colours, of 16 x 16 pixels"
        assert made[way].sync.startswith("sync: ")
    assert made["plain"].seed == 3
    assert made["plain"].file[:5] == made["guided"].file[:5]


def test_the_estimate_is_shown_while_sampling(opened):
    """Frames of the clip's size, at some steps but not the last."""
    shown = [u for u in opened.make(ASKED, {"plain": hp.NoGuidance()}) if u.preview is not None]
    assert [u.done for u in shown] == [1, 2, 3]
    assert all(u.preview.shape == (7, 16, 16, 3) for u in shown)
    assert not torch.equal(shown[0].preview, shown[-1].preview)


def test_cancelling_frees_the_memory(opened, monkeypatch):
    """No latents of the run are alive once it is over; the next request is made."""
    held, run = [], opened.pipeline.run

    def spied(request, watch):
        def both(step):
            held.append(weakref.ref(step.latents.video))
            watch(step)

        return run(request, both)

    monkeypatch.setattr(opened.pipeline, "run", spied)
    going = opened.make(hp.Request(steps=500), {"plain": hp.NoGuidance()})
    next(going)
    next(going)
    assert opened.cancel()
    with pytest.raises(Cancelled, match="cancelled"):
        list(going)
    gc.collect()
    assert 0 < len(held) < 500
    assert [ref for ref in held if ref() is not None] == []
    assert not opened.cancel()
    assert list(opened.make(ASKED, {"plain": hp.NoGuidance()}))[-1].made


def test_a_page_that_goes_away_cancels(opened):
    """A closed generator ends the work."""
    going = opened.make(hp.Request(steps=500), {"plain": hp.NoGuidance()})
    next(going)
    going.close()
    opened._busy.acquire(timeout=30)
    assert opened.history.clips == []


def test_a_second_request_is_refused(opened):
    """And doesn't disturb the first one."""
    going = opened.make(ASKED, {"plain": hp.NoGuidance()})
    next(going)
    with pytest.raises(Busy, match="a clip is being made already"):
        next(opened.make(ASKED, WAYS))
    with pytest.raises(Busy):
        opened.open("another")
    assert list(going)[-1].made


def test_a_missing_model_is_refused_and_the_former_stays(opened, tmp_path):
    """In the words of the library."""
    with pytest.raises(RunError, match="nowhere"):
        opened.open(str(tmp_path / "nowhere"))
    assert "16 x 16 pixels at 12 fps" in opened.about()
    assert list(opened.make(ASKED, {"plain": hp.NoGuidance()}))[-1].made


def test_without_a_model_nothing_is_made(session):
    """And the words say what to do."""
    with pytest.raises(RunError, match="write the folder of a model"):
        next(session.make(ASKED, WAYS))


def test_overlong_files_are_refused_by_their_header(opened, tmp_path):
    """Before the work begins, with both lengths; afterwards the session is free."""
    long = hp.Clip(waveform=torch.zeros(1, 8000 * 51), sample_rate=8000).save(tmp_path / "long.wav")
    with pytest.raises(RequestError, match=r"lasts 51 s.*the limit is 100 times that \(50 s\)"):
        next(opened.make(hp.Request(audio=long), WAYS))
    assert list(opened.make(ASKED, {"plain": hp.NoGuidance()}))[-1].made


def test_the_librarys_warnings_reach_the_page(opened):
    """Such as that of a length beyond the model's."""
    last = list(opened.make(hp.Request(steps=2, seconds=1.0), {"plain": hp.NoGuidance()}))[-1]
    assert any("much longer than the 0.5 s" in note for note in last.notes)


def test_history_outlives_the_session(opened):
    """Newest first, numbers go on, a deleted clip is left out, a broken line too."""
    list(opened.make(ASKED, WAYS))
    folder = opened.history.folder
    again = Session(folder, hp.load)
    assert again.history.clips == opened.history.clips
    assert again.history.clips[0].label == "0001: a red ball (guided, seed 3)"
    assert again.history.next_number() == 2
    (folder / "0001-plain.mp4").unlink()
    with (folder / NAME).open("a") as file:
        file.write("broken\n")
    with pytest.warns(UserWarning, match="line 3 is left out"):
        assert [made.way for made in History(folder).clips] == ["guided"]


def test_words_that_the_model_does_not_know_are_noted(opened):
    """With the nearest prompts that it knows, under the clip; known words have no note."""
    assert opened.examples() == ()
    opened.pipeline.known = learn([{"caption": "a red ball bounces"}, {"caption": "a bell rings"}])
    notes = {}
    for prompt in ("a dog barks", "a red ball bouncing"):
        asked = hp.Request(prompt=prompt, steps=1)
        _, first, last = opened.make(asked, {"plain": hp.NoGuidance()})
        assert first.notes == last.notes, "the warning is there while the clip can be cancelled"
        notes[prompt] = last.notes
    (said,) = notes["a dog barks"]
    assert "doesn't know: dog, barks. The nearest that it knows: 'a " in said
    assert notes["a red ball bouncing"] == ()
    assert opened.examples() == ("a red ball bounces", "a bell rings")

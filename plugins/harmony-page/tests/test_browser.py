"""The page in headless Chromium: the clips play and sound, and no request leaves the machine."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow

LOUDEST = """async (selector) => {
    const video = document.querySelector(selector);
    const file = await (await fetch(video.currentSrc)).arrayBuffer();
    const sound = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(file);
    return Math.max(...sound.getChannelData(0).map(Math.abs));
}"""
PLAYED = """async (selector) => {
    const video = document.querySelector(selector);
    video.loop = false; video.currentTime = 0;
    const ended = new Promise(done => video.addEventListener('ended', done, {once: true}));
    await video.play(); await ended;
    return [video.currentTime, video.duration, video.videoWidth, video.error];
}"""


@pytest.fixture
def opened_page(browser, address):
    """(page, requests to elsewhere, errors of the page), at `address`."""
    context = browser.new_context(viewport={"width": 1200, "height": 1000})
    page, away, errors = context.new_page(), [], []
    page.on("request", lambda r: away.append(r.url) if not _is_local(r.url, address) else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#make")
    page.wait_for_function("document.querySelector('#about').innerText.includes('pixels')")
    yield page, away, errors
    context.close()


def _is_local(url: str, address: str) -> bool:
    return url.startswith((address, "data:", "blob:"))


def test_clips_play_side_by_side_and_nothing_leaves_the_machine(opened_page, elsewhere):
    """Both clips play to their end, with sound, with the sync in words under each."""
    page, away, errors = opened_page
    page.get_by_label("Prompt").fill("a red ball bounces")
    page.click("#make")
    for way in ("plain", "guided"):
        page.wait_for_selector(f"#{way} video[src]", timeout=60_000)
        page.wait_for_function(f"document.querySelector('#{way}-words').innerText.includes('seed')")
        ended, seconds, width, error = page.evaluate(PLAYED, f"#{way} video")
        assert error is None
        assert (width, seconds) == (16, pytest.approx(7 / 12, abs=0.1))
        assert ended == pytest.approx(seconds, abs=0.05)
        assert page.evaluate(LOUDEST, f"#{way} video") > 1e-3
        assert "sync:" in page.inner_text(f"#{way}-words")
    assert away == []
    assert elsewhere == []
    assert errors == []


def test_a_second_click_is_refused_in_words_and_the_first_clip_is_made(opened_page):
    """The refusal is a message beside the clip that is being made."""
    page, _, _ = opened_page
    page.get_by_label("Steps").fill("200")
    page.click("#make")
    page.wait_for_function("document.querySelector('#status').innerText.includes('step')")
    page.click("#make")
    page.wait_for_selector("text=a clip is being made already")
    page.click("#cancel")
    page.wait_for_function("document.querySelector('#status').innerText.includes('cancelled')")


def test_a_phone_sees_the_whole_page(opened_page):
    """At 360 pixels nothing is wider than the screen; the button is in reach, above and below."""
    page, _, _ = opened_page
    page.set_viewport_size({"width": 360, "height": 740})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for top in ("0", "document.body.scrollHeight"):
        page.evaluate(f"scrollTo(0, {top})")
        box = page.locator("#make").bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= 360
        assert 0 <= box["y"] < box["y"] + box["height"] <= 740


def test_a_click_on_a_phone_leads_to_the_clips(opened_page):
    """They are below the form, where the status would not be seen."""
    page, _, _ = opened_page
    page.set_viewport_size({"width": 360, "height": 740})
    page.click("#make")
    page.wait_for_function(
        "document.querySelector('#status').getBoundingClientRect().top < innerHeight / 2"
    )
    page.wait_for_selector("#plain video[src]", timeout=60_000)

"""The right half of the page: the clips, side by side, and those made earlier."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from harmony_page.history import Made
from harmony_page.session import Session, Update

FRAMES, HEIGHT = 6, 96  # of the preview: how many frames, and at least how high
WAYS = {"plain": "Plain", "guided": "Guided"}


class Player:
    """A clip with its measured sync: a video, or a sound if there are no frames."""

    def __init__(self, title: str, name: str, *, visible: bool = True) -> None:
        self.video = gr.Video(
            label=title,
            visible=visible,
            interactive=False,
            elem_id=name,
            elem_classes="clip",
            height=260,
            buttons=["download"],
        )
        self.audio = gr.Audio(label=title, interactive=False, visible=False)
        self.words = gr.Markdown(elem_id=f"{name}-words")

    def show(self, file: str | None, words: str = "") -> dict[Any, Any]:
        """Updates that show a file, or nothing."""
        has_sound_only = bool(file) and str(file).endswith(".wav")
        return {
            self.video: gr.update(
                value=None if has_sound_only else file, visible=not has_sound_only
            ),
            self.audio: gr.update(value=file if has_sound_only else None, visible=has_sound_only),
            self.words: words,
        }

    @property
    def components(self) -> list[Any]:
        """What `show` updates."""
        return [self.video, self.audio, self.words]


class Results:
    """The status, warnings, a preview while sampling, the two clips, and the history."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.status = gr.Markdown("Ready.", elem_id="status")
        self.notes = gr.Markdown(elem_id="notes")
        self.preview = gr.Image(
            label="So far", visible=False, interactive=False, elem_id="preview", buttons=[]
        )
        self.players: dict[str, Player] = {}
        with gr.Row():
            for way, title in WAYS.items():
                with gr.Column(min_width=240):
                    self.players[way] = Player(title, way)
        with gr.Accordion("Earlier clips", open=True):
            self.earlier = gr.Dropdown(
                **self._choices(), label="History, newest first", elem_id="earlier"
            )
            self.chosen = Player("Earlier clip", "chosen", visible=False)
            self.repeat = gr.Button("Use its words and seed", size="sm")
        self.earlier.input(self._show_earlier, self.earlier, self.chosen.components, queue=False)

    @property
    def outputs(self) -> list[Any]:
        """What `updates`, `begin` and `say` update."""
        players = [each for player in self.players.values() for each in player.components]
        return [self.status, self.notes, self.preview, self.earlier, *players]

    def begin(self) -> dict[Any, Any]:
        """Empty players."""
        empty = [player.show(None) for player in self.players.values()]
        return {self.status: "Starting ...", self.notes: "", **empty[0], **empty[1]}

    def say(self, text: str) -> dict[Any, Any]:
        """Only words; no preview any more."""
        return {self.status: text, self.preview: gr.update(visible=False, value=None)}

    def update(self, update: Update) -> dict[Any, Any]:
        """What an update of the session changes."""
        # from the first step on: who sees that a word is unknown can cancel
        notes = {self.notes: "  \n".join(f"⚠ {note}" for note in update.notes)}
        if update.made is not None:
            made = update.made
            shown = self.players[made.way].show(str(self.session.history.path(made)), details(made))
            return {
                **self.say(f"Made: {update.way}, in {made.took:.1f} s."),
                **notes,
                **shown,
                self.earlier: gr.update(**self._choices()),
            }
        said = {self.status: f"{WAYS[update.way]}: step {update.done} of {update.steps}"}
        if update.done:
            said |= notes
        if update.preview is None:
            return said
        return {**said, self.preview: gr.update(value=strip(update.preview), visible=True)}

    def _choices(self) -> dict[str, Any]:
        clips = self.session.history.clips
        return {"choices": [(made.label, made.file) for made in clips], "value": None}

    def made(self, file: str | None) -> Made | None:
        """The earlier clip of that file."""
        return next((made for made in self.session.history.clips if made.file == file), None)

    def _show_earlier(self, file: str | None) -> dict[Any, Any]:
        if (made := self.made(file)) is None:
            return self.chosen.show(None)
        return self.chosen.show(str(self.session.history.path(made)), details(made))


def details(made: Made) -> str:
    """The sync of a clip, and what it was made with."""
    with_ = f"seed {made.seed}, {made.steps} steps, {made.took:.1f} s"
    return f"{made.sync}  \n<small>{with_}; {made.guidance}</small>"


def strip(frames: Any) -> np.ndarray:
    """Some frames [T, H, W, 3] in a row, enlarged without smoothing."""
    array = np.asarray(frames)
    chosen = array[np.linspace(0, len(array) - 1, min(FRAMES, len(array))).round().astype(int)]
    row = np.concatenate(list(chosen), axis=1)
    times = max(1, -(-HEIGHT // row.shape[0]))
    return row.repeat(times, axis=0).repeat(times, axis=1)

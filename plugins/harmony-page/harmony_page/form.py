"""The left half of the page: what a clip is made from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import gradio as gr

import harmony_parts as hp
from harmony_page.history import Made
from harmony_page.knobs import OWN, Knob, changed, described, knobs
from harmony_page.session import Session
from harmony_parts.generate.request import STRENGTH, Request
from harmony_parts.guidance.protocol import Guidance

SLIDERS = 12  # of one guidance; a slider can be hidden, but not added later
BOTH, GUIDED, PLAIN = "plain and guided, side by side", "guided", "plain"
FIELDS = [
    "prompt",
    "sound",
    "speech",
    "image",
    "voice",
    "audio",
    "video",
    "begin",
    "seconds",
    "overlap",
    "draft",
    "strength",
    "negative",
    "negative_sound",
    "seed",
    "steps",
]
"""The form's fields that are those of a request, in the order of `Form.inputs`."""


class Form:
    """The fields of a request, the choice of a guidance, and its sliders."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.prompt = gr.Textbox(label="Prompt", info="What is seen", lines=2)
        self.sound = gr.Textbox(label="Sound", info="What is heard")
        self.speech = gr.Textbox(label="Transcript", info="What is spoken")
        with gr.Row():
            self.example = gr.Button("An example", size="sm", elem_id="example", min_width=100)
            self.again = gr.Button("New seed", size="sm", min_width=100)
        with gr.Row(elem_id="buttons"):
            self.make = gr.Button("Make", variant="primary", elem_id="make", min_width=100)
            self.cancel = gr.Button("Cancel", elem_id="cancel", min_width=100)
        self._given()
        with gr.Accordion("Guidance", open=True):
            self.ways = gr.Radio([BOTH, GUIDED, PLAIN], value=BOTH, label="Make")
            self.guidance = gr.Dropdown(**self._choices(), label="Guidance")
            self.sliders = [gr.Slider(**each) for each in self.slider_settings(OWN)]
        with gr.Accordion("Negative", open=False):
            gr.Markdown("In place of the prompt where a guidance drops it, as cfg does.")
            self.negative = gr.Textbox(label="Negative", info="What isn't to be seen")
            self.negative_sound = gr.Textbox(label="Negative sound", info="What isn't to be heard")
        with gr.Row(equal_height=True):
            self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, min_width=90)
            self.steps = gr.Number(**self._steps(), label="Steps", precision=0, min_width=90)
            self.seconds = gr.Number(0, label="Seconds, or 0", min_width=90)
        self.overlap = gr.Number(
            0,
            label="Overlap, or 0",
            info="A clip longer than the model's is made in windows that repeat so many seconds",
        )
        self.example.click(self._example, None, self.prompt, queue=False)
        self.again.click(lambda: random.randrange(2**31), None, self.seed, queue=False)
        self.guidance.change(self.show_sliders, self.guidance, self.sliders, queue=False)

    def _given(self) -> None:
        """The fields for files."""
        with gr.Accordion("Image, voice, given video or sound, a clip to change", open=False):
            gr.Markdown("Files stay on this machine. Give a video or a sound, not both.")
            with gr.Tab("Image"):
                self.image = gr.Image(label="First frame", type="filepath", sources=["upload"])
            with gr.Tab("Voice"):
                self.voice = gr.Audio(
                    label="Voice to follow", type="filepath", sources=["upload", "microphone"]
                )
            with gr.Tab("Given sound"):
                self.audio = gr.Audio(
                    label="A video is made for it",
                    type="filepath",
                    sources=["upload", "microphone"],
                )
            with gr.Tab("Given video"):
                self.video = gr.Video(label="A sound is made for it", sources=["upload"])
            with gr.Tab("Go on from"):
                self.begin = gr.Video(label="The clip goes on from its end", sources=["upload"])
            with gr.Tab("Change"):
                self.draft = gr.Video(label="The clip starts from this one", sources=["upload"])
                self.strength = gr.Slider(
                    0.05, 1, STRENGTH, step=0.05, label="How much of the start is noise"
                )

    def _example(self) -> Any:
        """A prompt that the model knows, or what is there if it doesn't say which it knows."""
        examples = self.session.examples()
        return random.choice(examples) if examples else gr.skip()

    @property
    def inputs(self) -> list[Any]:
        """The components that `read` takes the values of."""
        fields = [getattr(self, name) for name in FIELDS]
        return [*fields, self.ways, self.guidance, *self.sliders]

    def read(self, *values: Any) -> tuple[Request, dict[str, Guidance]]:
        """(request, way -> guidance) of the values of `inputs`.

        Raises RequestError for a value that a request can't have, ValueError for a slider's.
        """
        fields = dict(zip(FIELDS, values, strict=False))
        chosen, name, *numbers = values[len(FIELDS) :]
        # an empty field is one that wasn't set; browsers have no empty number
        fields = {
            key: value
            for key, value in fields.items()
            if value not in ("", None) and not (key in ("seconds", "overlap") and value == 0)
        }
        if "draft" not in fields:
            fields.pop("strength", None)  # a slider has a value always
        own = self.session.guidances.get(name)
        if own is None:
            return Request(**fields), {}
        paths = [knob.path for knob in self.knobs(name)]
        guided = changed(own, dict(zip(paths, numbers, strict=False)))
        ways: dict[str, Guidance] = {"plain": hp.plain_way(guided), "guided": guided}
        kept = {BOTH: ("plain", "guided"), GUIDED: ("guided",), PLAIN: ("plain",)}[chosen]
        return Request(**fields), {way: ways[way] for way in kept}

    def knobs(self, name: str) -> list[Knob]:
        """The knobs of a guidance that have a slider."""
        own = self.session.guidances.get(name)
        return [] if own is None else knobs(own)[:SLIDERS]

    def slider_settings(self, name: str) -> Iterator[dict[str, Any]]:
        """The settings of each slider for a guidance; those that it doesn't need are hidden."""
        found = self.knobs(name)
        for knob in found:
            yield {
                "label": knob.label,
                "info": knob.help,
                "minimum": knob.low,
                "maximum": knob.high,
                "step": knob.step,
                "value": knob.value,
                "visible": True,
            }
        for _ in range(SLIDERS - len(found)):
            yield {"visible": False}

    def show_sliders(self, name: str) -> list[Any]:
        """Updates of all sliders for a guidance."""
        return [gr.update(**each) for each in self.slider_settings(name)]

    def _choices(self) -> dict[str, Any]:
        own = self.session.guidances.get(OWN)
        first = OWN if own is None else f"{OWN}: {described(own, numbers=False)}"
        others = [name for name in self.session.guidances if name != OWN]
        return {"choices": [(first, OWN), *((name, name) for name in others)], "value": OWN}

    def _steps(self) -> dict[str, Any]:
        pipeline = self.session.pipeline
        return {"value": None if pipeline is None else pipeline.recipe.sample.steps}

    @property
    def of_model(self) -> list[Any]:
        """The components that depend on the model."""
        return [self.example, self.guidance, self.steps, *self.sliders]

    def for_model(self) -> dict[Any, Any]:
        """Updates of them for the model that is open."""
        return {
            self.example: gr.update(visible=bool(self.session.examples())),
            self.guidance: gr.update(**self._choices()),
            self.steps: gr.update(**self._steps()),
            **dict(zip(self.sliders, self.show_sliders(OWN), strict=True)),
        }

    def repeat(self, made: Made) -> dict[Any, Any]:
        """Updates that fill in the words, the seed and the steps of an earlier clip."""
        names = ("prompt", "sound", "speech", "seed", "steps")
        return {getattr(self, name): getattr(made, name) for name in names}

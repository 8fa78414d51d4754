"""The page: a form, results, and what happens at a click."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from harmony_page.form import Form
from harmony_page.results import Results
from harmony_page.session import Busy, Cancelled, Session
from harmony_parts.errors import HarmonyError, RunError

LARGEST = "500mb"  # of a given file
DAY = 24 * 3600  # seconds after which uploads and gradio's copies of clips are deleted
TO_RESULTS = """() => {
    const status = document.querySelector('#status');
    if (status.getBoundingClientRect().top > innerHeight / 2) status.scrollIntoView();
}"""  # on a phone the results are below the form
CSS = Path(__file__).with_name("page.css")
Updates = dict[Any, Any]


def build(session: Session) -> gr.Blocks:
    """The page of a session."""
    with gr.Blocks(title="harmony", analytics_enabled=False, delete_cache=(DAY, DAY)) as page:
        about = gr.Markdown(session.about(), elem_id="about")
        with gr.Accordion("Model", open=session.pipeline is None):
            model = gr.Textbox(session.model, label="Folder of a model or a run")
            load = gr.Button("Load", size="sm", elem_id="load")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                form = Form(session)
            with gr.Column(scale=3, min_width=320):
                results = Results(session)
        _wire(session, form, results)
        load.click(
            lambda name: _open(session, form, about, name),
            model,
            [about, *form.of_model],
            api_name="open",
        )
        # the page may be opened, or opened again, after a model was changed
        page.load(
            lambda: {about: session.about(), model: session.model, **form.for_model()},
            None,
            [about, model, *form.of_model],
            api_name=False,
            show_progress="hidden",
        )
    return page


def _wire(session: Session, form: Form, results: Results) -> None:
    """What the buttons do. Clicks aren't queued: a second one is refused at once, in words."""

    def run(*values: Any) -> Iterator[Updates]:
        try:
            for number, update in enumerate(session.make(*form.read(*values))):
                if not number:  # not before: a refused request leaves the clips that are shown
                    yield results.begin()
                yield results.update(update)
        except Busy as error:
            gr.Warning(str(error))  # the status belongs to the clip that is being made
            yield {results.status: gr.skip()}  # gradio refuses an empty dict
        except Cancelled as error:
            yield results.say(str(error))
        except (HarmonyError, ValueError) as error:
            yield results.say(f"⚠ {error}")

    form.make.click(None, js=TO_RESULTS)
    form.make.click(
        run,
        form.inputs,
        results.outputs,
        api_name="make",
        concurrency_limit=None,
        trigger_mode="multiple",
        show_progress="hidden",
    )
    form.cancel.click(
        lambda: "Cancelling ..." if session.cancel() else "Nothing is being made.",
        None,
        results.status,
        api_name="cancel",
        queue=False,
    )
    results.repeat.click(
        lambda file: form.repeat(made) if (made := results.made(file)) else {form.seed: gr.skip()},
        results.earlier,
        [form.prompt, form.sound, form.speech, form.seed, form.steps],
        api_name=False,
        queue=False,
    )


def _open(session: Session, form: Form, about: Any, name: str) -> Updates:
    """Load a model; the former one stays if there is none of that name."""
    try:
        return {about: session.open(name), **form.for_model()}
    except (HarmonyError, ValueError, OSError) as error:
        return {about: f"⚠ {error}"}


def serve(
    session: Session,
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    in_browser: bool = False,
) -> tuple[gr.Blocks, str]:
    """Serve the page in the background: (page, address). Raises RunError if the port is taken."""
    page = build(session)
    try:
        _, address, _ = page.queue().launch(
            server_name=host,
            server_port=port,
            inbrowser=in_browser,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            footer_links=[],
            ssr_mode=False,  # it would need Node.js
            max_file_size=LARGEST,
            allowed_paths=[str(session.history.folder)],
            css_paths=[CSS],
            theme=gr.themes.Default(),
        )
    except OSError as error:
        raise RunError(
            f"can't listen at {host}, port {port or '7860 to 7959'}: it is taken, or isn't this"
            " machine's; choose others with --host and --port"
        ) from error
    return page, address

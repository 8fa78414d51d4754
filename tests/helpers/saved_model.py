"""Write the fixture of tests/generate/test_saved_model.py: `python tests/helpers/saved_model.py`.

It holds a model of two layers that was trained for a few steps, and the clip that it made. It is
made anew only by a change that means to change what saved models make, in the same commit.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from harmony_parts.assembly.read import read_recipe
from harmony_parts.generate.load import load
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.media.clip import Clip
from harmony_parts.train.loop import train

FOLDER = Path(__file__).parents[1] / "generate" / "saved"
RECIPE = {
    "name": "saved",
    "summary": "Two layers of GLDI and MM-DiT, trained for a few steps.",
    "format": {"fps": 12, "height": 16, "width": 16, "sample_rate": 8000, "seconds": 0.5},
    "codecs": {
        "video": {"use": "dct", "frames_per_latent": 2, "keep": 24},
        "audio": {
            "use": "log-mel",
            "latents_per_second": 31.25,
            "hops_per_latent": 1,
            "bands": 16,
            "iterations": 4,
        },
    },
    "encoders": {
        "caption": {"use": "bytes", "width": 8, "heads": 2, "layers": 1},
        "speech": {"use": "transcript", "width": 8},
        "image": "reference-image",
        "voice": "reference-audio",
    },
    "denoiser": {
        "use": "dual-branch",
        "layers": 2,
        "video": {"use": "transformer", "width": 16, "heads": 2, "feed": 24, "patch": 1},
        "audio": {"use": "mmdit", "width": 16, "heads": 2, "feed": 24},
        "interaction": {"use": "gldi", "audio_window": 0.1, "video_window": 0.1},
    },
    "flow": {"path": "straight", "density": "logit-normal", "shift": "constant"},
    "task": "weighted-sum",
    "data": {"use": "soundstage", "size": 16},
    "train": {
        "steps": 12,
        "batch": 2,
        "prepared": 4,
        "log_every": 4,
        "ema": 0.9,
        "optimizer": {"use": "adamw", "learning_rate": 0.01},
        "drop": {"caption": 0.2},
    },
    "sample": {"guidance": "sync-cfg", "solver": "heun", "shift": "constant", "steps": 3},
}
PROMPT = {"prompt": "a small red ball bounces twice", "speech": "hello there", "seed": 3}


def make(pipeline: Pipeline) -> dict[str, torch.Tensor]:
    """The clip of the fixture: frames uint8 [F, H, W, 3] and sound float32 [1, samples]."""
    voice = torch.sin(torch.arange(4000) / 5)[None] / 2
    image = torch.arange(16 * 16 * 3).remainder(255).to(torch.uint8).view(16, 16, 3)
    clip = pipeline.generate(**PROMPT, image=image, voice=Clip(None, 12, voice, 8000)).clip
    assert clip.frames is not None
    assert clip.waveform is not None
    return {"frames": clip.frames.contiguous(), "waveform": clip.waveform.contiguous()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as run:
        model = train(read_recipe(RECIPE), out=Path(run), progress=False, device="cpu")
        for name in ("recipe.toml", "model.safetensors"):
            shutil.copyfile(model / name, FOLDER / name)
    capability = torch.backends.cpu.get_cpu_capability()
    about = {"cpu": capability, "torch": torch.__version__}
    save_file(make(load(FOLDER)), FOLDER / "clip.safetensors", metadata=about)

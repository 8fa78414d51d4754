"""What every plugin over a published audio-video model does, from a tiny folder: for its tests.

A test file has a subclass of `PublishedContract` with the plugin's own settings, and the fixture
`model`, the folder of a tiny model, and `pipeline`, its recipe assembled. Each method is a test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest
import torch
from click.testing import CliRunner

from harmony_parts.assembly.build import build
from harmony_parts.av import AV, Prompt
from harmony_parts.cli.main import cli
from harmony_parts.generate.pipeline import Pipeline
from harmony_parts.guidance.cfg import CFG
from harmony_parts.guidance.none import NoGuidance
from harmony_parts.guidance.sync_cfg import SyncCFG
from harmony_parts.media.clip import Clip
from harmony_parts.models.external_weights import folder_digest
from harmony_parts.models.offload import external_modules

THIRD_PARTY = Path(__file__).parents[3] / "tests" / "helpers" / "third_party" / "harmony-half"
LIST = """
import sys
from harmony_parts.assembly.catalogue import Catalogue
name = sys.argv[1]
parts = Catalogue.discover(only=[name])
assert not parts.failures, parts.failures
mine = [declared for declared in parts.list() if declared.plugin == name]
print(*(f"{d.kind} {d.qualified} {d.distribution}" for d in mine), sep="\\n")
assert "torch" not in sys.modules
for declared in mine:
    parts.load_declared(declared)
heavy = {"torchaudio", "diffusers", "transformers"} & set(sys.modules)
assert not heavy, f"loading loads {heavy}"
"""
SAYS = "a ball falls"


def listed(plugin: str) -> list[str]:
    """ "kind name package" of each part, from a fresh process that mustn't load their libraries."""
    done = subprocess.run(
        [sys.executable, "-c", LIST, plugin], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


class PublishedContract:
    """The tests that all these plugins share; a subclass sets what differs."""

    plugin: ClassVar[str]
    parts: ClassVar[Collection[str]]  # "kind name" of each part
    recipe: ClassVar[Callable[..., Any]]  # as a staticmethod
    folder: ClassVar[ModuleType]
    settings: ClassVar[Sequence[str]]  # overrides of the recipe, for small and quick clips
    frames: ClassVar[tuple[int, int, int]]  # how many, height, width
    channels: ClassVar[int] = 2
    rate: ClassVar[int]
    text: ClassVar[tuple[str, ...]] = ("caption",)  # the conditions that guidance by text drops
    passes: ClassVar[Mapping[str, int]]  # columns of `harmony compare` and their passes
    compare: ClassVar[Sequence[str]] = ("--with-text",)
    full: ClassVar[Sequence[str]] = ()  # overrides of the recipe, for the full size
    counted: ClassVar[Mapping[str, int]]  # parameters at full size
    latents: ClassVar[tuple[int, int]]  # of the recipe's clip, in either stream

    def test_parts_are_listed_and_loaded_without_their_libraries(self) -> None:
        """In a fresh process; only `build` imports diffusers and transformers."""
        assert sorted(listed(self.plugin)) == sorted(
            f"{kind} {self.plugin}/{name} harmony-{self.plugin}"
            for kind, name in (part.split() for part in self.parts)
        )

    def test_clips_of_all_tasks(self, pipeline: Pipeline, tmp_path: Path) -> None:
        """Joint, for a given sound, for a given video, from an image."""
        count, height, width = self.frames
        made = pipeline.generate(SAYS, seed=3)
        assert made.clip.frames.shape == (count, height, width, 3)
        assert made.clip.waveform.shape == (self.channels, round(count / 24 * self.rate))
        again = pipeline.generate(SAYS, seed=3).clip
        assert torch.equal(again.frames, made.clip.frames)
        assert torch.equal(again.waveform, made.clip.waveform)
        back = Clip.read(made.save(tmp_path / "clip.mp4"))
        assert back.frames.shape == made.clip.frames.shape
        dubbed = pipeline.generate(SAYS, video=made, seed=4)
        assert torch.equal(dubbed.clip.frames, made.clip.frames)
        assert not torch.equal(dubbed.clip.waveform, made.clip.waveform)
        driven = pipeline.generate(SAYS, audio=made, seed=4)
        assert not torch.equal(driven.clip.frames, made.clip.frames)
        image = torch.full((height, width, 3), 200, dtype=torch.uint8)
        shown = pipeline.latents([Prompt(SAYS, image=image)], seeds=[3])
        known = pipeline.codecs["video"].encode(image[None, None])
        assert torch.allclose(shown["video"][:, :1], known, atol=1e-4)

    def test_a_draft_is_a_start_with_noise(self, pipeline: Pipeline) -> None:
        """Almost none leaves it as it is; with nothing else, it is forgotten."""
        draft = pipeline.latents([Prompt("rain")], seeds=[5], guidance=NoGuidance())

        def latents(**settings: Any) -> AV[torch.Tensor]:
            return pipeline.latents([Prompt(SAYS)], seeds=[3], **settings)

        assert same(latents(draft=draft, strength=1e-5), draft, 0.05)
        assert same(latents(draft=draft, strength=1.0), latents())
        assert not same(latents(draft=draft, strength=0.9), latents(), 0.01)

    def test_guidances_of_others_run_unchanged(
        self, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A third party's half of SyncCFG; adaptive projected guidance, CFG if it is off."""
        monkeypatch.syspath_prepend(THIRD_PARTY)
        from harmony_apg.apg import APG
        from harmony_half.half import Half

        def latents(guidance: Any) -> AV[torch.Tensor]:
            return pipeline.latents([Prompt("rain")], seeds=[0], guidance=guidance, steps=1)

        none, all_, half = (latents(g) for g in (NoGuidance(), SyncCFG(), Half(SyncCFG())))
        assert same(half, none.map(lambda a, b: (a + b) / 2, all_), 1e-5)
        assert not same(half, none, 1e-3)
        off = {"parallel": 1.0, "bound": 0.0, "momentum": 0.0, "drop": self.text}
        plain = latents(CFG(video=5, audio=5, drop=self.text))
        assert same(latents(APG(video=5, audio=5, **off)), plain, 1e-5)
        assert not same(latents(APG(video=5, audio=5, drop=self.text)), plain, 1e-3)

    def test_offloaded_clips_are_bitwise_equal(self, model: Path, pipeline: Pipeline) -> None:
        """By parts and by layers.

        Weights are copied first: a file has them at any address, and products depend on that in
        their last bit.
        """
        other = Pipeline.assemble(self.recipe(str(model), self.settings))
        for part in other.parts.each():
            for owner in external_modules(part):
                for weight in owner.parameters():
                    weight.data = weight.data.clone()
        want = other.latents([Prompt("rain")], seeds=[1])
        assert same(want, pipeline.latents([Prompt("rain")], seeds=[1]), 1e-5)
        for offload in ("parts", "layers"):
            made = other.to("cpu", offload=offload).latents([Prompt("rain")], seeds=[1])
            assert same(made, want)

    def test_guidances_are_compared(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`harmony compare` from the folder to the page, and `harmony generate`."""
        monkeypatch.chdir(tmp_path)
        settings = [word for setting in self.settings for word in ("--set", setting)]
        monkeypatch.setattr("sys.argv", ["folder", "m", "--model", str(model), *settings])
        self.folder.main()
        Path("prompts.txt").write_text(f"{SAYS}\n", encoding="utf-8")
        for words in (
            ["compare", "m", "prompts.txt", "--out", "compared", *self.compare],
            ["generate", "m", "--prompt", SAYS, "--out", "clip.mp4"],
        ):
            done = CliRunner().invoke(cli, [*words, "--device", "cpu"])
            assert done.exit_code == 0, done.output
        results = json.loads(Path("compared/results.json").read_text(encoding="utf-8"))
        columns = {column["name"]: column["passes"] for column in results["columns"]}
        assert columns == self.passes
        assert all(clip["made"] for clip in results["clips"])
        assert Path("compared/index.html").is_file()
        assert Clip.read("clip.mp4").frames.shape == (*self.frames, 3)
        noted = json.loads(Path("clip.mp4.json").read_text(encoding="utf-8"))["model"]
        assert noted["published"] == [{"model": model.name, "digest": folder_digest(model)}]

    @pytest.mark.slow
    def test_it_is_counted_at_full_size_without_weights(self) -> None:
        """On the meta device, in the form that the recipe or diffusers has without a folder."""
        recipe = self.recipe(overrides=self.full)
        parts = build(recipe, empty=("codecs", "encoders", "denoiser"))
        owners = {"denoiser": parts.denoiser, "text": parts.encoders["text"]}
        owners |= {s: parts.codecs[s] for s in parts.codecs}
        counts = {
            name: sum(weight.numel() for weight in owners[name].frozen.parameters())
            for name in self.counted
        }
        assert counts == self.counted
        video, audio = parts.codecs["video"], parts.codecs["audio"]
        count = recipe.format.frames
        made = (video.latents(count), audio.latents(recipe.format.samples(count)))
        assert made == self.latents


def same(a: AV[torch.Tensor], b: AV[torch.Tensor], tolerance: float = 0.0) -> bool:
    """Whether both have the same streams and equal numbers."""
    return tuple(a) == tuple(b) and all(
        torch.allclose(a[s], b[s], rtol=0, atol=tolerance) for s in a
    )

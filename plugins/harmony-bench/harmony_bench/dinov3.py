"""DINOv3: whether the frames show who the reference image shows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from harmony_parts.av import AV, Event
from harmony_parts.errors import BrokenPart
from harmony_parts.media.clip import Clip
from harmony_parts.metrics.protocol import Metric, Reference
from harmony_parts.models.external_weights import describe_weights, weights_folder
from harmony_parts.plugin import knob

AT_ONCE = 16  # frames


@attrs.frozen
class DINOv3:
    """`identity`: mean over frames of the cosine of their DINOv3 embedding with that of
    `reference.image`.

    Pictures are prepared by the weights' own processor: scaled to 0..1, resized (to 224 x 224,
    bilinear, antialiased), then normalised by ImageNet's mean and deviation. The embedding is the
    class token after the last layer norm. The paper doesn't say which size of DINOv3 it takes, nor
    which frames.
    """

    weights: str = knob(
        help="folder of config.json, preprocessor_config.json and model.safetensors, or a name on"
        ' the Hub such as "facebook/dinov3-vitl16-pretrain-lvd1689m"',
        validator=attrs.validators.min_len(1),
    )
    frames: int = knob(
        16, help="frames that are compared, evenly spread", validator=attrs.validators.ge(1)
    )

    def build(self, *, device: torch.device | str = "cpu") -> Metric:
        """The metric, its network on `device`.

        Prints name, licence and sha256 of the weights on the standard error. Raises BrokenPart if
        they are absent or of another network.
        """
        folder = weights_folder(self.weights)
        try:
            kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
            if not kind.startswith("dinov3"):
                raise BrokenPart(f"{folder}: these are weights of {kind}, not of DINOv3")
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
            network, found = AutoModel.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise BrokenPart(f"{folder}: DINOv3 can't be read: {error}") from error
        if found["missing_keys"]:
            missing = ", ".join(sorted(found["missing_keys"])[:3])
            raise BrokenPart(f"{folder}: weights are missing: {missing}")
        files = sorted(folder.glob("*.safetensors"))
        print(describe_weights(self.weights, files, "DINOv3 License (Meta)"), file=sys.stderr)
        network.eval().to(device)

        @torch.inference_mode()
        def embed(pictures: Tensor) -> Tensor:
            given = processor(images=list(pictures.permute(0, 3, 1, 2)), return_tensors="pt")
            return network(given.pixel_values.to(device)).pooler_output.float().cpu()

        return Identity(self, embed)


@attrs.frozen(eq=False)
class Identity:
    """The metric of `DINOv3`; `embed`: from pictures uint8 [N, H, W, 3] to embeddings [N, D]."""

    spec: DINOv3
    embed: Callable[[Tensor], Tensor]
    reads: tuple[str, ...] = ("video",)

    def analyse(self, clip: Clip) -> AV[Tensor]:
        """[frames, D] embeddings of length 1."""
        return AV(None if clip.frames is None else self._directions(clip.frames), None)

    def _directions(self, frames: Tensor) -> Tensor:
        last = len(frames) - 1
        at = torch.linspace(0, last, min(self.spec.frames, len(frames))).round().long()
        parts = [self.embed(part) for part in frames[at].split(AT_ONCE)]
        return normalize(torch.cat(parts), dim=-1)

    def score(
        self,
        video: Tensor,
        audio: None,
        truth: Sequence[Event] | None = None,
        reference: Reference | None = None,
    ) -> dict[str, float]:
        """`identity`, if there is a reference image."""
        if reference is None or reference.image is None:
            return {}
        person = normalize(self.embed(reference.image[None]), dim=-1)
        return {"identity": float((video @ person.T).mean())}

    def reason(self, video: Tensor, audio: None, reference: Reference | None = None) -> str:
        """That there is no image, if so."""
        missing = reference is None or reference.image is None
        return "there is no image to compare with" if missing else ""

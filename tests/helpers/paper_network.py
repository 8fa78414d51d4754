"""The network of Harmony (arXiv:2511.21579, section 3) by loops over single tokens, in float64.

An independent reference: it is written from the paper's equations and from the readings below, and
calls no layer of the package. Only the weights are shared, by their names. It computes one sample
at a time, and tokens that a mask leaves out don't exist here.

Readings, where the paper is silent or names another model:

* Video layers are Wan2.2's: q and k RMS-normed over the full width, RoPE over interleaved pairs,
  of which time takes what a third each for height and width leaves; text attention without a gate.
* The audio layer attends jointly over [z_r; z_a; words] with one set of weights, or, as in SD3, one
  for z_r and z_a and one for the words, which meet in the attention only. The target begins
  at position 0 and the reference ends at -1; words have no position. The reference is at time 0,
  words are at the time of the last latent.
* A window holds every latent that overlaps the query's interval, widened by the reach.
* GLDI rotates all pairs of a head with time, q and k RMS-normed per head.
* A layer begins with style: z_r reads the video's tokens as they enter the layer, and the joint
  attention of the same layer reads the updated z_r, which is what the paper prepends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from helpers.paper_equations import (
    Clock,
    Vector,
    attention,
    gelu,
    grid_rope,
    layer_norm,
    positions,
    rms_norm,
    rope,
    silu,
    turned,
    window,
)
from helpers.paper_inputs import Sample, Shape


@attrs.define(eq=False)
class Stream:
    """The state of a stream: tokens with the latent each belongs to, modulated at `times`."""

    name: str
    tokens: list[Vector]
    times: list[float]
    latent: list[int]
    angles: list[list[float]]
    words: list[Vector]
    reference: list[Vector] = attrs.field(factory=list)
    reference_angles: list[list[float]] = attrs.field(factory=list)
    frozen: bool = False


class PaperNetwork:
    """Velocities of one sample, with the weights of a built denoiser."""

    def __init__(
        self, weights: Mapping[str, Vector], shape: Shape, video: Clock, audio: Clock
    ) -> None:
        self.weights, self.shape, self.clock = weights, shape, {"video": video, "audio": audio}
        self.heads = {"video": shape.video_heads, "audio": shape.audio_heads}

    def velocities(self, sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        video, audio = self._video(sample), self._audio(sample)
        for n in range(self.shape.layers):
            self._layer(n, video, audio)
        return self._video_out(video, sample), np.array(self._head(audio))

    def linear(self, name: str, x: Vector, bias: bool = True) -> Vector:
        y = self.weights[f"{name}.weight"] @ x
        return y + self.weights[f"{name}.bias"] if bias else y

    def mlp(self, name: str, x: Vector) -> Vector:
        return self.linear(f"{name}.2", gelu(self.linear(f"{name}.0", x)))

    def norm(self, name: str, x: Vector) -> Vector:
        return layer_norm(x) * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def embedded_time(self, stream: str, t: float) -> Vector:
        frequencies = [10000 ** (-i / 128) for i in range(128)]
        wave = [math.cos(1000 * t * f) for f in frequencies]
        wave += [math.sin(1000 * t * f) for f in frequencies]
        name = f"branches.{stream}.time.mlp"
        return self.linear(f"{name}.2", silu(self.linear(f"{name}.0", np.array(wave))))

    def modulation(self, stream: str, layer: str, part: int, t: float) -> list[Vector]:
        """Shift, scale and gate of attention (part 0) or feed-forward (1) at one time."""
        six = self.linear(
            f"branches.{stream}.time.project.1", silu(self.embedded_time(stream, t))
        ).reshape(6, -1)
        six = six + self.weights[f"{layer}.modulation"]
        return [six[3 * part + i] for i in range(3)]

    def _sets(self, n: int, stream: Stream, words: Sequence[Vector]) -> list[str]:
        """Whose weights each token of the sequence has in layer n: words may have their own."""
        layer = f"blocks.{n}.{stream.name}"
        own = f"{layer}.words" if f"{layer}.words.modulation" in self.weights else layer
        return [layer] * (len(stream.reference) + len(stream.tokens)) + [own] * len(words)

    # --- into the network -------------------------------------------------------------------------

    def _video(self, sample: Sample) -> Stream:
        p, latents = self.shape.patch, np.array(sample.video)
        times = list(sample.video_times)
        for i, known in enumerate(sample.image):
            latents[i], times[i] = known, 0.0
        frozen = self.shape.one_way and max(times) == 0
        count, height, width, _ = latents.shape
        stream = Stream("video", [], [], [], [], [], frozen=frozen)
        pairs = len(self.weights["branches.video.patch_embedding.bias"]) // self.heads["video"] // 2
        for i in range(count):
            for row in range(height // p):
                for column in range(width // p):
                    patch = [
                        latents[i, row * p + a, column * p + b] for a in range(p) for b in range(p)
                    ]
                    stream.tokens.append(
                        self.linear("branches.video.patch_embedding", np.concatenate(patch))
                    )
                    stream.times.append(times[i])
                    stream.latent.append(i)
                    stream.angles.append(grid_rope(i, row, column, pairs))
        name = "branches.video.listener.projections.caption"
        stream.words = [self.mlp(name, token) for token in sample.caption]
        return stream

    def _audio(self, sample: Sample) -> Stream:
        def embedded(latent: Vector, group: str) -> Vector:
            x = self.linear("branches.audio.latent_embedding", latent)
            return x + self.weights[f"branches.audio.{group}_group"]

        pairs = len(self.weights["branches.audio.target_group"]) // self.heads["audio"] // 2
        count, before = len(sample.audio), len(sample.voice)
        listener = "branches.audio.listener"
        return Stream(
            "audio",
            [embedded(latent, "target") for latent in sample.audio],
            list(sample.audio_times),
            list(range(count)),
            [rope(j, pairs) for j in range(count)],
            [
                self.mlp(f"{listener}.projections.{name}", token)
                + self.weights[f"{listener}.groups.{name}"]
                for name, tokens in sample.words.items()
                for token in tokens
            ],
            [embedded(latent, "reference") for latent in sample.voice],
            [rope(j - before, pairs) for j in range(before)],
            frozen=self.shape.one_way and max(sample.audio_times) == 0,
        )

    # --- a layer ----------------------------------------------------------------------------------

    def _layer(self, n: int, video: Stream, audio: Stream) -> None:
        if self.shape.style is not None and not audio.frozen:
            style = [self._style(n, token, video) for token in audio.reference]
            audio.reference = [x + dx for x, dx in zip(audio.reference, style)]
        self._self_attention(n, video)
        self._self_attention(n, audio)
        received: dict[str, list[Vector]] = {}
        terms: dict[str, Callable[[int, Vector], Vector]] = {}
        if self.shape.interaction == "gldi":
            received["video"] = self._local(n, video, audio, self.shape.audio_window)
            received["audio"] = self._local(n, audio, video, self.shape.video_window)
        elif self.shape.interaction == "global":
            terms = {
                "video": self._global_term(n, video, audio),
                "audio": self._global_term(n, audio, video),
            }
        for stream in (video, audio):
            if not stream.frozen and stream.name in received:
                stream.tokens = [x + dx for x, dx in zip(stream.tokens, received[stream.name])]
        self._video_text(n, video, None if video.frozen else terms.get("video"))
        if "audio" in terms and not audio.frozen:
            self._audio_term(n, audio, terms["audio"])
        self._feed_forward(n, video)
        self._feed_forward(n, audio)

    def _multi_head(
        self, name: str, stream: str, x: Sequence[Vector], y: Sequence[Vector]
    ) -> tuple[list[list[Vector]], list[list[Vector]], list[list[Vector]]]:
        """Queries of x, keys and values of y: [token][head]."""

        def split(values: Vector) -> list[Vector]:
            return list(values.reshape(self.heads[stream], -1))

        q, k = self.weights[f"{name}.norm_q.weight"], self.weights[f"{name}.norm_k.weight"]
        return (
            [split(rms_norm(self.linear(f"{name}.q", token), q)) for token in x],
            [split(rms_norm(self.linear(f"{name}.k", token), k)) for token in y],
            [split(self.linear(f"{name}.v", token)) for token in y],
        )

    def _self_attention(self, n: int, stream: Stream) -> None:
        """Of the video over its tokens; of the audio jointly over reference, target and words."""
        audio = stream.name == "audio"
        words = stream.words if audio else []
        tokens = stream.reference + stream.tokens + words
        times = [0.0] * len(stream.reference) + stream.times + [stream.times[-1]] * len(words)
        angles = stream.reference_angles + stream.angles + [[] for _ in words]
        sets, kind = self._sets(n, stream, words), "attention" if audio else "self_attention"
        modulations = [self.modulation(stream.name, layer, 0, t) for layer, t in zip(sets, times)]
        x = [
            layer_norm(token) * (1 + scale) + shift
            for token, (shift, scale, _) in zip(tokens, modulations)
        ]
        one = [
            self._multi_head(f"{layer}.{kind}", stream.name, [token], [token])
            for layer, token in zip(sets, x)
        ]
        q, k, v = ([token for (token,) in of_all] for of_all in zip(*one))
        q = [[turned(head, angle) for head in token] for token, angle in zip(q, angles)]
        k = [[turned(head, angle) for head in token] for token, angle in zip(k, angles)]
        new = [
            token + gate * self.linear(f"{layer}.{kind}.o", self._read(query, k, v))
            for layer, token, query, (_, _, gate) in zip(sets, tokens, q, modulations)
        ]
        self._place(stream, new)

    @staticmethod
    def _read(
        query: Sequence[Vector], keys: Sequence[list[Vector]], values: Sequence[list[Vector]]
    ) -> Vector:
        """The results of all heads side by side."""
        return np.concatenate(
            [
                attention(q, [k[h] for k in keys], [v[h] for v in values])
                for h, q in enumerate(query)
            ]
        )

    @staticmethod
    def _place(stream: Stream, new: list[Vector]) -> None:
        before, after = len(stream.reference), len(stream.reference) + len(stream.tokens)
        stream.reference, stream.tokens = new[:before], new[before:after]
        if len(new) > after:
            stream.words = new[after:]

    def _video_text(
        self, n: int, video: Stream, term: Callable[[int, Vector], Vector] | None
    ) -> None:
        """z + o(attention(q, caption) + term(q)), without rotation."""
        name = f"blocks.{n}.video.text_attention"
        x = [self.norm(f"blocks.{n}.video.norm3", token) for token in video.tokens]
        q, k, v = self._multi_head(name, "video", x, video.words)
        for i, query in enumerate(q):
            read = self._read(query, k, v)
            if term is not None:
                read = read + term(i, query)
            video.tokens[i] = video.tokens[i] + self.linear(f"{name}.o", read)

    def _audio_term(self, n: int, audio: Stream, term: Callable[[int, Vector], Vector]) -> None:
        """Words have been read: only the term enters, by the joint attention's q and o."""
        name = f"blocks.{n}.audio.attention"
        q, _, _ = self._multi_head(name, "audio", [layer_norm(x) for x in audio.tokens], [])
        for j, query in enumerate(q):
            audio.tokens[j] = audio.tokens[j] + self.linear(f"{name}.o", term(j, query), bias=False)

    def _feed_forward(self, n: int, stream: Stream) -> None:
        words = stream.words if stream.name == "audio" else []
        tokens = stream.reference + stream.tokens + words
        times = [0.0] * len(stream.reference) + stream.times + [stream.times[-1]] * len(words)
        new = []
        for layer, token, t in zip(self._sets(n, stream, words), tokens, times):
            shift, scale, gate = self.modulation(stream.name, layer, 1, t)
            x = layer_norm(token) * (1 + scale) + shift
            new.append(token + gate * self.mlp(f"{layer}.ffn", x))
        self._place(stream, new)

    # --- the interaction --------------------------------------------------------------------------

    def _local(self, n: int, reader: Stream, source: Stream, reach: float) -> list[Vector]:
        """dz of GLDI: every token reads the window of the other stream around its latent."""
        name, heads = f"blocks.{n}.interaction.to_{reader.name}", self.heads[reader.name]
        own, others = self.clock[reader.name], self.clock[source.name]
        # `constant` is video latents per audio latent: its inverse on the audio's time line
        constant = self.shape.constant if reader.name == "video" else 1 / self.shape.constant
        at, of = positions(own, others, self.shape.rope_map, constant)
        pairs = len(self.weights[f"{name}.q.bias"]) // heads // 2

        def rotated(x: Vector, which: str, position: float) -> list[Vector]:
            weight = self.weights[f"{name}.norm_{which}.weight"]
            split = self.linear(f"{name}.{which}", x).reshape(heads, -1)
            return [turned(rms_norm(head, weight), rope(position, pairs)) for head in split]

        normed = [self.norm(f"{name}.norm_source", token) for token in source.tokens]
        k = [rotated(x, "k", of[j]) for x, j in zip(normed, source.latent)]
        v = [list(self.linear(f"{name}.v", x).reshape(heads, -1)) for x in normed]
        residuals = []
        for token, i in zip(reader.tokens, reader.latent):
            seen = set(window(own[i], others, reach))
            rows = [row for row, j in enumerate(source.latent) if j in seen]
            q = rotated(self.norm(f"{name}.norm_reader", token), "q", at[i])
            read = self._read(q, [k[row] for row in rows], [v[row] for row in rows])
            residuals.append(self.linear(f"{name}.o", read))
        return residuals

    def _style(self, n: int, token: Vector, video: Stream) -> Vector:
        """CrossAttn(z_r W_q, z_v W_k, z_v W_v) without rotation: over the whole video, or over what
        each style token pools of it.
        """
        name = f"blocks.{n}.interaction.style"
        read = [self.norm(f"{name}.norm_video", x) for x in video.tokens]
        projections = f"{name}.heads"
        if self.shape.style == "tokens":
            read, projections = self._pooled(self.weights[f"{name}.tokens"], read), name
        x = [self.norm(f"{name}.norm_reference", token)]
        q, k, v = self._multi_head(projections, "audio", x, read)
        return self.linear(f"{projections}.o", self._read(q[0], k, v))

    def _pooled(self, queries: Vector, video: Sequence[Vector]) -> list[Vector]:
        """For each style token, each head's average of the video's tokens, weighted by scores."""
        heads = self.heads["video"]
        split = [list(x.reshape(heads, -1)) for x in video]
        return [self._read(list(query.reshape(heads, -1)), split, split) for query in queries]

    def _global_term(
        self, n: int, reader: Stream, source: Stream
    ) -> Callable[[int, Vector], Vector]:
        """Ovi's: all tokens of the other stream, both rotated on the video's time line."""
        name, heads = f"blocks.{n}.interaction.to_{reader.name}", self.heads[reader.name]
        at_video, at_audio = positions(
            self.clock["video"], self.clock["audio"], self.shape.rope_map, self.shape.constant
        )
        pairs = len(self.weights[f"{name}.k.bias"]) // heads // 2
        side = len(source.tokens if source.name == "video" else reader.tokens)
        side = math.isqrt(side // len(self.clock["video"]))  # square latents

        def angles(stream: Stream, row: int) -> list[float]:
            j = stream.latent[row]
            if stream.name == "audio":
                return rope(at_audio[j], pairs - 2 * (pairs // 3))
            return grid_rope(at_video[j], row % side**2 // side, row % side, pairs)

        normed = [self.norm(f"{name}.norm_source", token) for token in source.tokens]
        weight = self.weights[f"{name}.norm_k.weight"]
        k = [
            [
                turned(head, angles(source, row))
                for head in rms_norm(self.linear(f"{name}.k", x), weight).reshape(heads, -1)
            ]
            for row, x in enumerate(normed)
        ]
        v = [list(self.linear(f"{name}.v", x).reshape(heads, -1)) for x in normed]

        def term(row: int, query: Sequence[Vector]) -> Vector:
            return self._read([turned(q, angles(reader, row)) for q in query], k, v)

        return term

    # --- out of the network -----------------------------------------------------------------------

    def _head(self, stream: Stream) -> list[Vector]:
        name = f"branches.{stream.name}.head"
        out = []
        for token, t in zip(stream.tokens, stream.times):
            shift, scale = self.weights[f"{name}.modulation"] + self.embedded_time(stream.name, t)
            out.append(self.linear(f"{name}.out", layer_norm(token) * (1 + scale) + shift))
        return out

    def _video_out(self, video: Stream, sample: Sample) -> NDArray[np.float64]:
        """Patches to latents; a known latent's velocity leads to it: (x_t - known) / t."""
        p, velocity = self.shape.patch, np.zeros_like(sample.video)
        columns = velocity.shape[2] // p
        per_latent = velocity.shape[1] // p * columns
        for token, out in enumerate(self._head(video)):
            row, column = divmod(token % per_latent, columns)
            pixels = out.reshape(p, p, -1)
            for a in range(p):
                for b in range(p):
                    place = video.latent[token], row * p + a, column * p + b
                    velocity[place] = pixels[a, b]
        for i, known in enumerate(sample.image):
            t = sample.video_times[i]
            velocity[i] = (sample.video[i] - known) / t if t > 0 else 0
        return velocity

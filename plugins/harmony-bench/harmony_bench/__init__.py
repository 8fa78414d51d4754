"""Adapters of the models by which Harmony-Bench measures, for harmony_parts."""

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_metric() -> Iterator[PartDeclaration]:
    """Declare the metrics."""
    yield part(
        "audiobox-aesthetics",
        "harmony_bench.audiobox:AudioBoxAesthetics",
        summary="Production quality, its complexity, enjoyment and usefulness of a sound.",
        source="arXiv:2502.05139",
    )
    yield part(
        "syncnet",
        "harmony_bench.syncnet:SyncNet",
        summary="Sync-C and Sync-D of talking faces, and their offset.",
        source="Chung and Zisserman 2016; syncnet-python",
    )
    yield part(
        "whisper",
        "harmony_bench.whisper:Whisper",
        summary="Word error of what Whisper hears, with Whisper's own normalisation.",
        source="arXiv:2212.04356",
    )
    yield part(
        "dinov3",
        "harmony_bench.dinov3:DINOv3",
        summary="Identity: likeness of the frames to a reference image.",
        source="arXiv:2508.10104",
    )
    yield part(
        "raft",
        "harmony_bench.raft:RAFT",
        summary="Dynamic degree: whether much of the picture moves fast for long enough.",
        source="arXiv:2003.12039; VBench, arXiv:2311.17982",
    )
    yield part(
        "callable",
        "harmony_bench.from_callable:FromCallable",
        summary="Numbers of any function from a clip, named by its import path.",
        source="this project",
    )
    yield part(
        "score-file",
        "harmony_bench.score_file:ScoreFile",
        summary="Numbers that were computed elsewhere, from a file of scores.",
        source="this project",
    )

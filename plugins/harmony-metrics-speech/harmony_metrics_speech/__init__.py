"""Metrics of speech for harmony_parts."""

from collections.abc import Iterator

from harmony_parts.plugin import PartDeclaration, hookimpl, part


@hookimpl
def harmony_metric() -> Iterator[PartDeclaration]:
    """Declare the metrics."""
    yield part(
        "voice-activity",
        "harmony_metrics_speech.voice_activity:VoiceActivity",
        summary="When somebody speaks: share of the time, beginning and end.",
        source="Silero VAD",
    )
    yield part(
        "dnsmos",
        "harmony_metrics_speech.dnsmos:DNSMOS",
        summary="Predicted opinion of speech in noise: signal, background, overall.",
        source="arXiv:2110.01763",
    )
    yield part(
        "distillmos",
        "harmony_metrics_speech.distillmos:DistillMOS",
        summary="Predicted opinion of the quality of speech, one number from 1 to 5.",
        source="arXiv:2502.05356",
    )
    yield part(
        "voice-likeness",
        "harmony_metrics_speech.voice_likeness:VoiceLikeness",
        summary="Likeness of the voice to that of the reference audio.",
        source="Resemblyzer; arXiv:1710.10467",
    )
    yield part(
        "pitch",
        "harmony_metrics_speech.pitch:Pitch",
        summary="Pitch of the voice, its range, and its distance from the reference audio's.",
        source="torchcrepe; arXiv:1802.06182",
    )
    yield part(
        "transcription",
        "harmony_metrics_speech.transcription:Transcription",
        summary="Errors in words, characters and pinyin of what a recogniser hears.",
        source="jiwer",
    )

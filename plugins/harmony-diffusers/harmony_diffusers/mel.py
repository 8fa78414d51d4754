"""Log-mel spectra as the autoencoders expect: magnitudes, librosa's filters, natural logarithm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

QUIET = 1e-5  # lower bound of a mel band before the logarithm


class MelSpectrum:
    """ln max(M |X|, 1e-5) with Slaney's mel filters M.

    X is the Fourier transform under Hann windows of `window` samples every `hop`. `margin` samples
    are mirrored at either end; `power` is added to |X|^2 before the root.
    """

    def __init__(
        self, sample_rate: int, window: int, hop: int, bands: int, *, margin: int, power: float
    ) -> None:
        from torchaudio.functional import melscale_fbanks

        self.hop, self.margin, self.power = hop, margin, power
        with torch.device("cpu"):  # tables with values, even if the weights are on the meta device
            self._filters = melscale_fbanks(
                window // 2 + 1,
                0.0,
                sample_rate / 2,
                bands,
                sample_rate,
                norm="slaney",
                mel_scale="slaney",
            ).T.contiguous()
            self._window = torch.hann_window(window)

    def __call__(self, waveform: Tensor) -> Tensor:
        """float32 [B, samples > margin] -> [B, bands, frames].

        frames = 1 + (samples + 2 margin - window) // hop.
        """
        mirrored = pad(waveform[:, None], (self.margin, self.margin), mode="reflect")[:, 0]
        window = self._window.to(waveform.device)
        spectrum = torch.stft(
            mirrored, len(window), self.hop, window=window, center=False, return_complex=True
        )
        magnitude = (spectrum.real.square() + spectrum.imag.square() + self.power).sqrt()
        return (self._filters.to(waveform.device) @ magnitude).clamp(min=QUIET).log()

"""What the frequency branch sees, against scipy, torchaudio's own transforms, and frequency responses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import torch

from gasdet_breathnet.model import FrequencyBranch, SpectralFrames, frame_count, mel_sinc_bank


def noise(samples: int = 8_000, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, samples, generator=torch.Generator().manual_seed(seed))


def power(x: np.ndarray, n_fft: int) -> np.ndarray:
    """``[bins, T]`` by hand, every frame centred on the middle of the 400 samples that wav2vec 2.0 hears."""
    around = (n_fft - 400) // 2
    padded = np.pad(x.astype(np.float64), around)
    window = scipy.signal.get_window("hann", n_fft)
    frames = [padded[t * 320 : t * 320 + n_fft] * window for t in range(frame_count(len(x)))]
    return (np.abs(np.fft.rfft(np.stack(frames), axis=1)) ** 2).T * 400 / n_fft


def scaled(power: np.ndarray) -> np.ndarray:
    return (np.log(power + 1e-6) + 3) / 4


@pytest.mark.parametrize("n_fft", [400, 1024])
def test_stft_is_the_log_power_and_the_sizes_of_its_differences(n_fft: int) -> None:
    x = noise()
    found = SpectralFrames("stft", n_fft)(x)
    assert found.shape == (2, 3, n_fft // 2 + 1, frame_count(8_000))
    for row, one in zip(x.numpy(), found.numpy(), strict=True):
        expected = scaled(power(row, n_fft))
        np.testing.assert_allclose(one[0], expected, atol=2e-4)
        np.testing.assert_allclose(one[1, :, 1:], np.abs(np.diff(expected, axis=1)), atol=4e-4)
        np.testing.assert_allclose(one[2, 1:], np.abs(np.diff(expected, axis=0)), atol=4e-4)
        assert not one[1, :, 0].any()
        assert not one[2, 0].any()


def test_lfcc_is_60_numbers_of_20_linear_filters() -> None:
    x = noise()
    found = SpectralFrames("lfcc", 400)(x).numpy()
    assert found.shape == (2, 3, 20, frame_count(8_000))
    hertz = np.arange(201) * 40.0
    edges = np.linspace(0, 8000, 22)
    filters = [np.clip(np.minimum((hertz - a) / (b - a), (c - hertz) / (c - b)), 0, None)
               for a, b, c in zip(edges, edges[1:], edges[2:], strict=False)]  # fmt: skip
    for row, one in zip(x.numpy(), found, strict=True):
        bands = scaled(np.stack(filters) @ power(row, 400))
        cepstrum = scipy.fft.dct(bands, axis=0, norm="ortho")
        np.testing.assert_allclose(one[0], cepstrum, atol=1e-3)
        # differences as regression slopes over five frames, ends repeated
        padded = np.pad(cepstrum, ((0, 0), (2, 2)), mode="edge")
        count = cepstrum.shape[1]
        slope = sum(k * (padded[:, 2 + k : 2 + k + count] - padded[:, 2 - k : 2 - k + count]) for k in (1, 2)) / 10
        np.testing.assert_allclose(one[1], slope, atol=1e-3)


def test_the_sinc_bank_has_70_mel_spaced_bands() -> None:
    bank = mel_sinc_bank().double().numpy()
    assert bank.shape == (70, 129)
    np.testing.assert_allclose(bank, bank[:, ::-1], atol=1e-7)  # linear phase
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 71) / 2595) - 1)
    for band in (40, 55, 69):  # wide enough for 129 taps
        middle = (edges[band] + edges[band + 1]) / 2
        hertz, response = scipy.signal.freqz(bank[band], worN=4096, fs=16_000)
        gain = np.abs(response)
        assert abs(hertz[gain.argmax()] - middle) < 150
        assert gain[np.abs(hertz - middle) > 600].max() < 0.1 * gain.max()
    # neighbours share their edge: together they pass everything once
    total = np.abs(scipy.signal.freqz(bank.sum(0), worN=512, fs=16_000)[1])
    np.testing.assert_allclose(total[:490], 1.0, atol=0.01)


def test_sinc_frames_are_the_bands_power() -> None:
    x = noise()
    found = SpectralFrames("sinc", 400)(x)[:, 0].numpy()
    bank = mel_sinc_bank().numpy().astype(np.float64)
    for row, one in zip(x.numpy().astype(np.float64), found, strict=True):
        for band in (5, 40, 69):
            filtered = scipy.signal.fftconvolve(row, bank[band], mode="same") ** 2
            expected = [filtered[t * 320 : t * 320 + 400].sum() for t in range(frame_count(8_000))]
            np.testing.assert_allclose(one[band], scaled(np.array(expected)), atol=1e-3)


@pytest.mark.parametrize(("kind", "bands"), [("stft", 201), ("lfcc", 20), ("sinc", 70)])
def test_convolutions_stride_along_frequency_alone(kind: str, bands: int) -> None:
    branch = FrequencyBranch(kind, 400, (4, 8), bands=4)
    x = noise()
    sizes: list[torch.Size] = []
    for block in branch.blocks:
        block.register_forward_hook(lambda module, inputs, output: sizes.append(output.shape))
    found = branch(x, torch.float32)
    frames = frame_count(8_000)
    half = (bands + 1) // 2
    assert sizes == [torch.Size([2, 4, half, frames]), torch.Size([2, 8, (half + 1) // 2, frames])]
    assert found.shape == (2, frames, 8)


def test_a_click_is_in_the_frames_that_hear_it() -> None:
    """Alignment: a click at sample s shows in the frames t with t * 320 <= s < t * 320 + 400."""
    x = torch.zeros(1, 16_000)
    x[0, 5_000] = 1.0
    frames = SpectralFrames("stft", 400)(x)[0, 0]
    heard = (frames > frames.min() + 1e-4).any(0).nonzero()[:, 0].tolist()
    assert heard == [15]
    assert 15 * 320 <= 5_000 < 15 * 320 + 400


def test_means_of_bands_before_and_after_the_convolutions_are_projected() -> None:
    torch.manual_seed(0)
    branch = FrequencyBranch("stft", 400, (4,), bands=3)
    x = noise()
    frames = branch.frames(x)
    maps = branch.blocks(frames)
    joined = []
    for given in (frames, maps):
        rows = given.shape[2]
        edges = [
            (k * rows // 3, -(-(k + 1) * rows // 3)) for k in range(3)
        ]  # parts share a row where 3 does not divide
        means = torch.stack([given[:, :, a:b].mean(2) for a, b in edges], dim=2)  # [B, C, 3, T]
        joined.append(means.flatten(1, 2).transpose(1, 2))
    expected = torch.cat(joined, -1) @ branch.project.weight.T + branch.project.bias
    torch.testing.assert_close(branch(x, torch.float32), expected, rtol=1e-4, atol=1e-5)

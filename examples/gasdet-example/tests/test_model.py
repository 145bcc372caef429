"""The spectrum against one that is known, and against numpy's."""

from __future__ import annotations

import numpy as np
import torch

from gasdet_example.model import BANDS, spectrum


def test_a_grid_of_single_pixels_is_in_the_highest_band() -> None:
    rows, columns = np.mgrid[:64, :64]
    grid = 255.0 * ((rows + columns) % 2)
    found = spectrum(torch.tensor(grid, dtype=torch.float32).expand(1, 3, 64, 64))[0]
    assert int(found.argmax()) == BANDS - 1


def test_it_is_numpys_power_in_rings() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 48, 40)).astype(np.float32)
    grey = pixels.mean(0) / 255
    window = np.outer(
        0.5 - 0.5 * np.cos(2 * np.pi * np.arange(48) / 48), 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(40) / 40)
    )
    power = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    # in the precision of the model: a frequency on the edge of two rings is in either
    rows, columns = np.fft.fftfreq(48).astype(np.float32)[:, None], np.fft.fftfreq(40).astype(np.float32)[None]
    radius = np.sqrt(rows**2 + columns**2) / np.float32(0.5**0.5)
    band = np.minimum((radius * np.float32(BANDS)).astype(int), BANDS - 1)
    expected = [np.log10(power[band == b].mean() + 1e-6) if (band == b).any() else -6.0 for b in range(BANDS)]
    np.testing.assert_allclose(spectrum(torch.from_numpy(pixels)[None])[0].numpy(), expected, rtol=1e-3, atol=1e-3)

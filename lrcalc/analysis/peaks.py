"""Maxima of spectra that stand out of their error bars."""

from typing import NamedTuple

import numpy as np

SIGMAS = 3.0
"""What stands out by less than so many standard errors is noise."""


class Peak(NamedTuple):
    """A maximum: cm⁻¹, height and its error, full width at half prominence in cm⁻¹."""

    wavenumber: float
    height: float
    error: float
    width: float


def peaks(
    wavenumber: np.ndarray, value: np.ndarray, error: np.ndarray, *, sigmas: float = SIGMAS
) -> list[Peak]:
    """Maxima that stand out by more than ``sigmas`` standard errors and 2 % of the highest.

    The error counts as its root mean square over the points within the resolution: from few blocks
    it is itself rough, and where it comes out small by chance a shoulder would pass for a maximum.
    """
    from scipy.signal import find_peaks, peak_widths

    noise = np.sqrt(np.convolve(np.nan_to_num(error, nan=0.0) ** 2, np.ones(9) / 9, mode="same"))
    found, properties = find_peaks(value, prominence=0.02 * float(np.max(value)))
    width = peak_widths(value, found, rel_height=0.5)[0]
    step = wavenumber[1] - wavenumber[0]
    return [
        Peak(float(wavenumber[i]), float(value[i]), float(error[i]), float(w * step))
        for i, w, prominence in zip(found, width, properties["prominences"], strict=True)
        if prominence > sigmas * noise[i]
    ]

"""Folders with small whole cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from psdt_planner.findings import Finding, Level
from tests.dicom_in.objects import ct_images, decayed_pixels, dwi_images, mr_images, seg_object, write

OF_EVERY_SMALL_EXAM = ("protocol-coverage", "protocol-unstated")


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A CT, a T1, a DWI at b 50 and 900 in one series, an ADC map, and one lesion flagged on the DWI."""
    low = dwi_images("dwi-50", b=50, pixels=decayed_pixels(50))
    high = dwi_images("dwi-900", pixels=decayed_pixels(900))
    for ds in low:
        ds.SeriesInstanceUID = high[0].SeriesInstanceUID
    adc = mr_images("adc", ImageType=["DERIVED", "PRIMARY", "DIFFUSION", "ADC"], SeriesDescription="adc")
    mask = np.zeros((5, 9, 7, 1), dtype=np.uint8)
    mask[1:3, 3:6, 2:5] = 1
    return write(tmp_path / "case", ct_images(), mr_images(), low, high, adc, seg_object(high, mask))


@pytest.fixture
def codes_of() -> Callable[[Iterable[Finding]], dict[str, Level]]:
    """Findings as their codes, each with its level, but for those that every small exam has."""
    return lambda findings: {one.code: one.level for one in findings if one.code not in OF_EVERY_SMALL_EXAM}

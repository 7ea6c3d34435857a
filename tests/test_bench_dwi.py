"""The bench of a whole exam: its bars, its exam, and that both methods read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import dwi_methods
from benchmarks.dwi import MEMORY_MB, RATIO, rows
from benchmarks.dwi_methods import (
    DIFFUSION,
    DIFFUSION_SHAPE,
    DIXON,
    DIXON_SHAPE,
    LESIONS,
    OURS,
    PEER,
    STATIONS,
    Run,
    load_of_intake,
    read_with_pydicom,
    write_exam,
)
from psdt_planner.dicom.intake import read_inputs


def test_the_exam_has_two_thousand_images() -> None:
    images = STATIONS * (len(DIFFUSION) * DIFFUSION_SHAPE[0] + len(DIXON) * DIXON_SHAPE[0])
    assert images == 2000


def test_time_is_held_against_pydicom_and_memory_against_its_bar() -> None:
    ours = [Run(1.6, 2.0, 900.0), Run(1.4, 1.8, 1600.0), Run(1.5, 1.9, 900.0)]
    found = list(rows({OURS: ours, PEER: [Run(1.0, 1.0, 100.0)] * 3}, 2000))
    assert [(row.unit, row.ours, row.peer, row.bar) for row in found] == [
        ("s", 1.5, 1.0, RATIO), ("CPU s", 1.9, 1.0, None), ("MB", 1600.0, MEMORY_MB, 1.0),
    ]  # fmt: skip
    assert [row.missed for row in found] == [False, False, True]
    assert [row.missed for row in rows({OURS: [Run(1.51, 1, 1)], PEER: [Run(1, 1, 1)]}, 1)] == [True, False, False]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same exam with small images and two stations."""
    folder = tmp_path_factory.mktemp("bench") / "exam"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dwi_methods, "STATIONS", 2)
        patch.setattr(dwi_methods, "DIFFUSION_SHAPE", (40, 160, 120))
        patch.setattr(dwi_methods, "DIXON_SHAPE", (16, 26, 32))
        assert write_exam(folder) == 2 * (4 * 40 + 4 * 16)
    return folder


def test_ours_reads_composes_and_computes_the_load(small: Path) -> None:
    intake = read_inputs([small])
    assert [len(volume.series_uids) for volume in intake.exam.mr] == [2] * (len(DIFFUSION) + len(DIXON))
    load = load_of_intake(intake)
    assert len(load.lesions) == LESIONS
    assert load.patient.adc is not None
    assert load.patient.adc.median == pytest.approx(1e-3, rel=0.02)
    expected = {"ct-absent", "lesion-site-unknown", "protocol-coverage", "protocol-pixels", "protocol-unstated"}
    assert {finding.code for finding in intake.exam.findings} == expected


def test_the_peer_reads_every_image(small: Path) -> None:
    pixels = list(read_with_pydicom(small))
    assert len(pixels) == 448
    assert all(isinstance(image, np.ndarray) and image.ndim == 2 for image in pixels)

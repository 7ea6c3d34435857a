"""RT Dose in: every voxel at its place in Gy, and every dose that is no dose of a whole plan refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike
from pydicom import FileDataset

from psdt_planner.dicom.dose_in import DoseIn, DoseRefusedError, read_dose
from psdt_planner.images import Kind
from tests.dicom_in.objects import CT_FRAME, headers, uid, write
from tests.earlier.objects import TURNED, UNEVEN, rt_dose

AXIAL, PRONE, HEAD_PRONE = [[1, 0, 0], [0, 1, 0]], [[-1, 0, 0], [0, -1, 0]], [[1, 0, 0], [0, -1, 0]]


def read(folder: Path, ds: FileDataset) -> DoseIn:
    (header,) = headers(write(folder, ds))
    return read_dose(header)


def by_the_standard(ds: FileDataset) -> np.ndarray[Any, Any]:
    """``(K, J, I, 3)``, place of every voxel, said slowly: PS3.3 C.7.6.2.1.1 with the offsets of C.8.8.3.2."""
    row, column = (np.array(ds.ImageOrientationPatient[n : n + 3], dtype=float) for n in (0, 3))
    first = np.array(ds.ImagePositionPatient, dtype=float)
    places = np.empty((ds.NumberOfFrames, ds.Rows, ds.Columns, 3))
    for k, j, i in np.ndindex(*places.shape[:3]):
        offset = float(ds.GridFrameOffsetVector[k]) - float(ds.GridFrameOffsetVector[0])
        in_plane = j * float(ds.PixelSpacing[0]) * column + i * float(ds.PixelSpacing[1]) * row
        places[k, j, i] = first + in_plane + offset * np.cross(row, column)
    return places


@pytest.mark.parametrize(
    ("cosines", "offsets"),
    [
        (TURNED[:2], UNEVEN),
        (TURNED[:2], tuple(-one for one in UNEVEN)),
        (AXIAL, tuple(31.0 + one for one in UNEVEN)),
        (AXIAL, tuple(31.0 - one for one in UNEVEN)),
        (PRONE, tuple(31.0 + one for one in UNEVEN)),
        (HEAD_PRONE, UNEVEN),
    ],
    ids=["turned", "turned, downwards", "z itself", "z itself, downwards", "z itself, turned in plane", "prone"],
)
@pytest.mark.parametrize("bits", [np.uint16, np.uint32])
def test_every_voxel_has_its_dose_at_its_place(
    tmp_path: Path, cosines: ArrayLike, offsets: tuple[float, ...], bits: type[np.unsignedinteger[Any]]
) -> None:
    stored = np.random.default_rng(3).integers(0, 5400, (5, 4, 6)).astype(bits)
    ds = rt_dose(stored=stored, scaling=0.01, cosines=cosines, offsets=offsets)
    dose = read(tmp_path, ds)
    assert (dose.uid, dose.plan_uids) == (uid("dose", 0), (uid("rtplan", 0),))
    volume = dose.volume
    assert (volume.quantity.kind, volume.quantity.unit, volume.grid.frame) == (Kind.RTDOSE, "Gy", CT_FRAME)
    np.testing.assert_allclose(volume.grid.centres_mm(), by_the_standard(ds), atol=1e-5)
    np.testing.assert_allclose(volume.array, stored * 0.01, rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "code", "says"),
    [
        ({"DoseUnits": "RELATIVE"}, "earlier-dose-relative", "DoseUnits RELATIVE"),
        ({"DoseUnits": None}, "earlier-dose-unreadable", "DoseUnits is missing"),
        ({"DoseType": "EFFECTIVE"}, "earlier-dose-not-physical", "DoseType EFFECTIVE"),
        ({"DoseType": "ERROR"}, "earlier-dose-not-physical", "DoseType ERROR"),
        ({"DoseSummationType": "FRACTION"}, "earlier-dose-summation", "DoseSummationType FRACTION"),
        ({"DoseSummationType": "BEAM"}, "earlier-dose-summation", "DoseSummationType BEAM"),
        ({"DoseSummationType": "RECORD"}, "earlier-dose-summation", "DoseSummationType RECORD"),
        ({"DoseSummationType": "PLAN_OVERVIEW"}, "earlier-dose-summation", "PLAN_OVERVIEW"),
        ({"DoseSummationType": None}, "earlier-dose-summation", "nothing"),
        ({"DoseGridScaling": None}, "earlier-dose-unreadable", "DoseGridScaling is missing"),
        ({"DoseGridScaling": "0"}, "earlier-dose-unreadable", "not positive"),
        ({"DoseGridScaling": "-0.01"}, "earlier-dose-unreadable", "not positive"),
        ({"GridFrameOffsetVector": [0, 3, 6, 10]}, "earlier-dose-unreadable", "4 values, not 5"),
        ({"GridFrameOffsetVector": [0, 3, 3, 10, 13]}, "earlier-dose-geometry", "duplicated"),
        ({"GridFrameOffsetVector": [2, 5, 8, 12, 15]}, "earlier-dose-geometry", "neither 0 nor"),
        ({"GridFrameOffsetVector": [31, 34, 37, 41, 44]}, "earlier-dose-geometry", "neither 0 nor"),
        ({"NumberOfFrames": None}, "earlier-dose-geometry", "one plane alone"),
        ({"FrameOfReferenceUID": None}, "earlier-dose-unreadable", "FrameOfReferenceUID is missing"),
        ({"Rows": 5}, "earlier-dose-unreadable", "cannot be decoded"),
    ],
)
def test_what_is_no_absolute_dose_of_a_whole_plan_is_refused(
    tmp_path: Path, attributes: dict[str, Any], code: str, says: str
) -> None:
    with pytest.raises(DoseRefusedError, match=says) as refused:
        read(tmp_path, rt_dose(**attributes))
    assert refused.value.code == code
    assert uid("dose", 0) in str(refused.value)


def test_a_negative_dose_is_refused(tmp_path: Path) -> None:
    stored = np.full((5, 4, 6), -1, dtype=np.int16)
    with pytest.raises(DoseRefusedError, match="negative"):
        read(tmp_path, rt_dose(stored=stored, PixelRepresentation=1))

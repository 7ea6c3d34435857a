"""The manifest's transforms are read back from its bytes before anything is written."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from psdt_planner.dossier.manifest import _transforms, read_back_transforms
from psdt_planner.errors import ReadBackError
from psdt_planner.geometry import Rigid
from psdt_planner.planning import Plan

CT, MR = "1.2.3.1", "1.2.3.2"


def rigid(degrees: float) -> Rigid:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [degrees, 3.0, -7.0], degrees=True).as_matrix()
    matrix[:3, 3] = [100.0 / 3.0, -2.0 / 7.0, degrees]
    return Rigid(matrix, CT, MR)


def plan() -> Plan:
    """A case with two mapped lesions and one that was left out."""
    mapped = [SimpleNamespace(ct_from_mr=rigid(1.5)), SimpleNamespace(ct_from_mr=rigid(2.5)), None]
    lesions = [SimpleNamespace(flag=SimpleNamespace(id=f"L{n}"), mapped=m) for n, m in enumerate(mapped, start=1)]
    case = SimpleNamespace(ct_from_mr=rigid(0.5))
    return cast(
        "Plan", SimpleNamespace(registration=case, lesions=lesions, course=None, earlier=SimpleNamespace(courses=()))
    )


def written(transforms: list[dict[str, Any]]) -> bytes:
    return json.dumps({"transforms": transforms}).encode()


def test_the_case_and_each_mapped_lesion_have_their_transform_to_the_last_bit() -> None:
    made = plan()
    assert [item["of"] for item in _transforms(made)] == ["case", "L1", "L2"]
    read_back_transforms(written(_transforms(made)), made)


@pytest.mark.parametrize("key", ["matrix", "source", "target"])
def test_a_transform_that_reads_back_otherwise_is_named(key: str) -> None:
    made = plan()
    found = _transforms(made)
    found[1][key] = rigid(1.5 + 1e-6).matrix.tolist() if key == "matrix" else "1.2.3.9"
    with pytest.raises(ReadBackError, match=r"other transforms of L1\b(?!,)"):
        read_back_transforms(written(found), made)


def test_one_that_is_missing_and_one_too_many_are_named() -> None:
    made = plan()
    found = _transforms(made)
    found[2]["of"] = "L3"
    with pytest.raises(ReadBackError, match=r"other transforms of L2, L3\b(?!,)"):
        read_back_transforms(written(found), made)


def test_the_prior_exam_and_each_of_its_lesions_have_their_transforms_too() -> None:
    compared = SimpleNamespace(
        registration=SimpleNamespace(transform=rigid(0.2)), places={"P2": SimpleNamespace(this_from_prior=rigid(0.3))}
    )
    followed = cast("Plan", SimpleNamespace(**{**vars(plan()), "course": SimpleNamespace(compared=compared)}))
    assert [item["of"] for item in _transforms(followed)] == ["case", "L1", "L2", "prior exam", "P2"]
    read_back_transforms(written(_transforms(followed)), followed)

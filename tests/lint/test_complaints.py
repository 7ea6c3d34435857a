"""What receivers reject or misread, and what a well-known writer gets wrong: a code of lint each, or no file's fault.

Each line of the two tables is a complaint that was made in public about one program; the words are short for it.
"""

from __future__ import annotations

import pytest

from psdt_planner.lint import CODES

UNSEEN = "not visible in a file: "

RECEIVERS: dict[str, tuple[str, ...] | str] = {
    "Eclipse: DS of more than 16 characters": ("coordinate-too-long",),
    "Eclipse: StructureSetLabel of more than 16 characters": ("label-too-long",),
    "Eclipse: each ring must refer to its image; StudyID; identity by IDs": (
        "ring-image-missing", "type-2-missing", "patient-differs", "study-differs",
    ),
    "Eclipse: attributes of type 2 missing": ("type-2-missing",),
    "Eclipse: names of more than 16 characters, the same once cut": ("roi-name-long", "roi-names-collide"),
    "Eclipse: axial images, rings on their planes, approved sets locked": (
        "ct-not-axial", "ring-off-slice", "approved", "external-several",
    ),
    "Eclipse: a plan without beams is not exported": UNSEEN + "it is about plans",
    "RayStation: a name that the patient has with another type": UNSEEN + "the patient's other sets are not in it",
    "RayStation: empty ROIs left out of ROIContourSequence": ("roi-empty",),
    "RayStation: badly linked sets, rings that overlap themselves": (
        "references-missing", "images-of-several-series", "ring-crosses-itself", "rings-overlap",
    ),
    "RayStation: what its conformance statement lists": UNSEEN + "it is about services",
    "Eclipse 18: a plan refers to an ROI that is not there": UNSEEN + "it is about plans",
    "any: a closed ring of one point": ("ring-too-few-points",),
    "Monaco: rings on the CT's slices, even slices": ("ring-off-slice", "ct-slices-uneven"),
    "Pinnacle: rings on CT planes, axial": ("ring-off-slice", "ct-not-axial"),
    "Brainlab: many labels, mismatched patient, one frame": ("roi-count-many", "patient-differs", "frames-several"),
    "ProKnow: frame, images and patient must match": ("frame-differs", "image-not-in-ct", "patient-differs"),
    "MIM, Velocity: permissive": UNSEEN + "nothing is refused",
    "plastimatch: nested, XOR, few points, names that repeat": (
        "ring-nested", "contour-xor", "ring-too-few-points", "roi-name-duplicate",
    ),
    "dcmrtstruct2nii: does not run with pydicom 3": UNSEEN + "it is a fault of that program",
    "platipy: XOR for all rings": ("ring-nested",),
    "matRad: rings near the borders dropped": ("ring-beside-slice", "ring-off-ct"),
    "Horos, OsiriX: half a pixel off on import": UNSEEN + "it is a fault of that program",
    "holes in general": ("ring-nested", "contour-xor", "ring-touches-itself"),
    "too many points": ("ring-many-points", "ring-too-long"),
}  # fmt: skip

RT_UTILS: dict[int, tuple[str, tuple[str, ...] | str]] = {
    1: ("row and column spacing swapped", ("ring-off-image",)),
    2: ("half a voxel lost all round", UNSEEN + "nobody but the mask knows how large it was"),
    3: ("slices placed by a mean distance", ("ring-off-slice", "ct-slices-uneven", "ct-slice-missing")),
    4: ("tilted gantry", ("ct-gantry-tilt",)),
    5: ("coordinates of 19 characters", ("coordinate-too-long", "ring-beside-slice")),
    6: ("unreadable slices passed over", ("ct-slice-missing", "ct-incomplete")),
    7: ("series mixed", ("images-of-several-series", "image-not-in-ct")),
    8: ("mask read back as columns by rows", UNSEEN + "it is about reading"),
    9: ("holes looked for along the wrong axes", ("ring-nested",)),
    10: ("holes as nested rings", ("ring-nested",)),
    11: ("closed rings of one and two points", ("ring-too-few-points",)),
    12: ("an empty mask gives an empty ContourSequence", ("contour-sequence-empty",)),
    13: ("the patient's name lost its letters", ("patient-name-damaged", "patient-name-differs")),
    14: ("ROI numbers repeat", ("roi-number-duplicate", "contours-twice")),
    15: ("changed content under the same UID", ("uid-reused",)),
    16: ("a frame of reference made up", ("ct-frame-missing", "frame-differs")),
    17: ("a CT without StudyID fails", UNSEEN + "no file is written"),
    18: ("a warning that fails", UNSEEN + "no file is written"),
    19: ("names neither cut nor told apart", ("roi-name-too-long", "roi-name-duplicate")),
    20: ("another manufacturer and institution", ("institution-differs",)),
    21: ("no interpreted type", ("roi-type-missing",)),
    22: ("all pixels in memory", UNSEEN + "it is about memory"),
    23: ("an interrupted save leaves an empty file", ("file-unreadable", "file-truncated")),
    24: ("oblique stacks without notice", ("ct-not-axial",)),
}


@pytest.mark.parametrize("line", [*RECEIVERS.items(), *RT_UTILS.values()], ids=lambda line: line[0])
def test_a_complaint_is_a_code_of_lint_or_said_to_be_none(line: tuple[str, tuple[str, ...] | str]) -> None:
    _, answer = line
    if isinstance(answer, str):
        assert len(answer) > len(UNSEEN)
        assert answer.startswith(UNSEEN)
    else:
        assert answer
        assert set(answer) <= set(CODES)


def test_no_line_is_left_out() -> None:
    assert len(RECEIVERS) == 25
    assert list(RT_UTILS) == list(range(1, 25))

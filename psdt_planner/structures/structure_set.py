"""Names, and the structure set: from the rings of each target to what the planning system will see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psdt_planner.errors import FaultError
from psdt_planner.geometry import Grid
from psdt_planner.shapes import TARGET_KINDS, Contour, Roi, RoiKind, StructureSet, rings_volume_ml
from psdt_planner.tg263 import TargetName

LABEL_LENGTH = 16
"""Longest StructureSetLabel (SH)."""

DESCRIPTION_LENGTH = 1024
"""Longest ROIDescription (ST)."""

CUT = " [...]"
"""Where words were cut."""

COLOURS = {
    RoiKind.GTV: (255, 0, 0),
    RoiKind.CTV: (255, 165, 0),
    RoiKind.PTV: (0, 170, 255),
    RoiKind.ORGAN: (0, 158, 115),
    RoiKind.EXTERNAL: (160, 160, 160),
}
"""Display colour by kind: red, orange and blue also tell apart where red and green do not."""

CLASSIFIERS = {"prostate": "p", "prostate-recurrence": "p"}
"""TG-263 classifier by site: primary; nodes have ``n``, and metastases of bone or of an organ none."""

NODES_END = "-node"
"""What the keys of nodal sites end in."""


# ---------------------------------------------------------------------------------------------------------------------
# names


def roi_name(kind: RoiKind, site: str, number: int) -> str:
    """Kind, classifier and number by TG-263: ``GTV1`` in bone, ``PTVn2`` for a node, ``CTVp3`` in the prostate.

    The number is the lesion's, so that a name means the same lesion in every version of the set. Sites that psdt does
    not know are named as bone is, without a classifier.

    Raises:
        FaultError: no target, a number below 1, or one so long that the name passes 16 characters.
    """
    classifier = "n" if site.endswith(NODES_END) else CLASSIFIERS.get(site, "")
    return str(TargetName(kind.value, classifier, number))


def lesion_number(lesion: str) -> int:
    """The number in a lesion's id: 3 of ``L3``.

    Raises:
        FaultError: an id of another form.
    """
    match = re.fullmatch(r"L([1-9][0-9]*)", lesion)
    if not match:
        raise FaultError(f"{lesion!r} is not a lesion id of the form L1")
    return int(match[1])


# ---------------------------------------------------------------------------------------------------------------------
# the structure set


@dataclass(frozen=True, eq=False)
class Target:
    """The rings of one lesion.

    Attributes:
        lesion: id, ``L1``.
        label: the reader's words.
        site: site key of the protocol.
        text: words for ROIDescription, such as the proposed schedule and the margins.
        contours: rings of each kind, as traced from shapes that hold one another: GTV in CTV in PTV.
        tracking_uid: the lesion's identity over time; empty where the flag has none.
    """

    lesion: str
    label: str
    site: str
    text: str
    contours: Mapping[RoiKind, tuple[Contour, ...]]
    tracking_uid: str = ""


def build_structure_set(targets: Iterable[Target], ct: Grid, *, label: str, description: str) -> StructureSet:
    """The ROIs of all lesions, in order of lesion and kind.

    ROI numbers follow from the lesion's number alone (L1: 1, 2, 3; L2: 4, 5, 6), so that a lesion left out does not
    renumber the others. Descriptions say PROPOSAL and are cut at 1,024 characters. A target without rings of a kind
    gives an ROI without rings, which the writer refuses.

    Raises:
        FaultError: two targets of one lesion, or a label of more than 16 characters.
    """
    if not 1 <= len(label) <= LABEL_LENGTH:
        raise FaultError(f"the label {label!r} is empty or has more than {LABEL_LENGTH} characters")
    rois = sorted((roi for target in targets for roi in _rois(target, ct)), key=lambda roi: roi.number)
    if len({roi.number for roi in rois}) != len(rois) or len({roi.name.upper() for roi in rois}) != len(rois):
        raise FaultError("two targets have the same lesion id")
    return StructureSet(ct, label, _proposal(description), tuple(rois))


def _rois(target: Target, ct: Grid) -> Iterable[Roi]:
    number = lesion_number(target.lesion)
    tracking = f"Tracking UID {target.tracking_uid}. " if target.tracking_uid else ""
    text = f"of {target.lesion}, {target.site}. {tracking}Flagged as: {target.label}. {target.text}"
    for order, kind in enumerate(TARGET_KINDS):
        contours = target.contours.get(kind)
        if contours is None:
            continue
        yield Roi(
            number=len(TARGET_KINDS) * (number - 1) + order + 1,
            name=roi_name(kind, target.site, number),
            kind=kind,
            lesion=target.lesion,
            contours=contours,
            volume_ml=rings_volume_ml(contours, ct),
            description=_proposal(f"{kind.value} {text}"),
            colour=COLOURS[kind],
        )


def _proposal(text: str) -> str:
    """The text, marked as a proposal and cut to what ROIDescription holds."""
    marked = text if text.startswith("PROPOSAL") else f"PROPOSAL, not a prescription. {text}"
    return shortened(marked.strip(), DESCRIPTION_LENGTH)


def shortened(text: str, longest: int) -> str:
    """The text, or as much of it as fits with ``[...]`` at its end, so that nobody takes it for the whole."""
    return text if len(text) <= longest else text[: longest - len(CUT)] + CUT

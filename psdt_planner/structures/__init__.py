"""Margins, anatomy, names, and the structure set: from shapes to what the planning system will see."""

from psdt_planner.structures.bone import BoneCtv, kept_in_bone
from psdt_planner.structures.cuts import Cut, away_from, below_skin, body_around, what_was_cut
from psdt_planner.structures.fields import on_lattice, united, volume_ml, widened
from psdt_planner.structures.landmarks import (
    LEVELS,
    POINTS,
    LandmarkName,
    Vertebra,
    contradictions,
    landmark_of,
    out_of_line,
)
from psdt_planner.structures.margins import Margin, grow
from psdt_planner.structures.organ_names import OrganNames
from psdt_planner.structures.relations import Relation, Slabs, distance_mm, overlap_ml, slabs
from psdt_planner.structures.sectors import Part, SpineCtv, ctv_parts, part_of, spine_ctv
from psdt_planner.structures.structure_set import (
    CLASSIFIERS,
    COLOURS,
    DESCRIPTION_LENGTH,
    LABEL_LENGTH,
    Target,
    build_structure_set,
    lesion_number,
    roi_name,
    shortened,
)
from psdt_planner.structures.vertebra import FoundSectors, sectors_of

__all__ = [
    "CLASSIFIERS",
    "COLOURS",
    "DESCRIPTION_LENGTH",
    "LABEL_LENGTH",
    "LEVELS",
    "POINTS",
    "BoneCtv",
    "Cut",
    "FoundSectors",
    "LandmarkName",
    "Margin",
    "OrganNames",
    "Part",
    "Relation",
    "Slabs",
    "SpineCtv",
    "Target",
    "Vertebra",
    "away_from",
    "below_skin",
    "body_around",
    "build_structure_set",
    "contradictions",
    "ctv_parts",
    "distance_mm",
    "grow",
    "kept_in_bone",
    "landmark_of",
    "lesion_number",
    "on_lattice",
    "out_of_line",
    "overlap_ml",
    "part_of",
    "roi_name",
    "sectors_of",
    "shortened",
    "slabs",
    "spine_ctv",
    "united",
    "volume_ml",
    "what_was_cut",
    "widened",
]

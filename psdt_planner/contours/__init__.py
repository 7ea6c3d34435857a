"""From a flagged mask to a smooth shape on the planning CT, and from a shape to closed rings on its slices.

A mask of 2 to 6 mm voxels says where the lesion is, not where its surface runs. `lesion_shape` makes it a smooth field
whose zero level keeps the mask's volume; `trace` cuts that field with the CT's slice planes. Nothing is lost in
silence: what a ring set does not show of its shape is counted in `Tracing` and said by `Tracing.findings`.
"""

from psdt_planner.contours.drawing import SPECK_MM2, Tracing
from psdt_planner.contours.filled import even_odd, even_odd_area, mask_of, shape_of
from psdt_planner.contours.holes import by_rule
from psdt_planner.contours.masks import mask_rings
from psdt_planner.contours.plane import COARSEST_MM, MAX_POINTS, TOLERANCE_MM, most_points
from psdt_planner.contours.shape import faint_parts_ml, lesion_shape
from psdt_planner.contours.tracing import trace

__all__ = [
    "COARSEST_MM",
    "MAX_POINTS",
    "SPECK_MM2",
    "TOLERANCE_MM",
    "Tracing",
    "by_rule",
    "even_odd",
    "even_odd_area",
    "faint_parts_ml",
    "lesion_shape",
    "mask_of",
    "mask_rings",
    "most_points",
    "shape_of",
    "trace",
]

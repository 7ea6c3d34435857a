"""Which way an imported rigid registration points: a known trap are exporters that write the inverse matrix.

The images decide: where they fit far better under the inverse, the matrix was probably written the wrong way round.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from psdt_planner.findings import Finding, Level, Who
from psdt_planner.geometry import Points, Rigid
from psdt_planner.images import Volume
from psdt_planner.registration.bodies import ct_body
from psdt_planner.registration.fits import Image, mutual_information
from psdt_planner.registration.sitk_bridge import coarse

COARSE_MM = 5.0

HU_RANGE = (-300.0, 700.0)
"""Outside it a CT tells nothing: air is air, and cortex is cortex."""

LEAST_GAIN = 0.1
"""By which the inverse must fit better, in mutual information. On synthetic patients the right way is better than one
4 mm off by 0.01 to 0.15, and than one 10 mm off by 0.11 to 0.38: an inverse is noticed from about 5 mm of shift on."""

LEAST_INFORMATION = 0.2
"""Which the inverse must reach. Right transforms reach 0.29 to 0.71, and wrong ones, at a chance overlap, 0.19."""

LEAST_OVERLAP = 0.5
"""Part of the body in the CT that must find MR for the images to say anything of a transform."""


def inverted(ct: Volume, mr: Volume, ct_from_mr: Rigid) -> Finding | None:
    """``registration-inverted`` (hold) where mutual information at 5 mm is far greater under the inverse.

    None where the two are alike, as for a transform near identity, or where neither can be told.
    """
    fixed, moving, body = _images(ct, mr)
    backwards = Rigid(ct_from_mr.inverse().matrix, ct_from_mr.target, ct_from_mr.source)
    stated, inverse = (_information(fixed, moving, body, one) for one in (ct_from_mr, backwards))
    gain = inverse - stated
    if gain < LEAST_GAIN or inverse < LEAST_INFORMATION:
        return None
    message = (
        f"The images fit the inverse of the given registration far better than the registration itself (mutual "
        f"information {inverse:.2f} against {stated:.2f}): whoever wrote it probably wrote the inverse."
    )
    return Finding("registration-inverted", Level.HOLD, message, Who.SENDER, gain, LEAST_GAIN)


def _images(ct: Volume, mr: Volume) -> tuple[Image, Image, Points]:
    """CT and MR at 5 mm, the CT cut to the body and a rim, and points ``(N, 3)`` of the body."""
    grid, hu, seen = coarse(ct, COARSE_MM, outside=float(HU_RANGE[0]))
    body = ct_body(hu)
    mask = ndimage.binary_dilation(body) & seen
    moving = Image(*coarse(mr, COARSE_MM, outside=0.0))
    return Image(grid, np.clip(hu, *HU_RANGE), mask), moving, grid.mm_from_index(np.argwhere(body))


def _information(fixed: Image, moving: Image, body_mm: Points, ct_from_mr: Rigid) -> float:
    """Mutual information under a transform; 0 where too little of the body finds MR."""
    mr_from_ct = ct_from_mr.inverse()
    if not len(body_mm) or moving.grid.contains(mr_from_ct.apply(body_mm)).mean() < LEAST_OVERLAP:
        return 0.0
    try:
        return mutual_information(fixed, moving, mr_from_ct, body_mm.mean(axis=0))
    except RuntimeError:  # SimpleITK: the images do not overlap
        return 0.0

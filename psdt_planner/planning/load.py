"""The tumour load of a plan's flagged lesions, by lesion, MET-RADS-P region and patient."""

from __future__ import annotations

from psdt_planner.criteria.acquisition import AdcHistogram
from psdt_planner.dwi.load import TumourLoad, tumour_load
from psdt_planner.images import Kind
from psdt_planner.planning.types import Plan
from psdt_planner.timeline.regions import region_of


def load_of(plan: Plan, histogram: AdcHistogram) -> TumourLoad | None:
    """The load of every lesion that was flagged, treated or not; None where none was."""
    flags = [lesion.flag for lesion in plan.lesions]
    if not flags:
        return None
    regions = {flag.id: region.value for flag in flags if (region := region_of(flag.site, flag.label, flag.site_code))}
    moved_mm = {flag.id: plan.exam.moved_mm(flag.series_uid) for flag in flags}
    return tumour_load(flags, plan.exam.of_kind(Kind.ADC), histogram, regions=regions, moved_mm=moved_mm)

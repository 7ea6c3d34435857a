"""Whether the condition of a regimen holds for a target, and why not."""

from __future__ import annotations

from collections.abc import Iterator

from psdt_planner.fractionation.types import TargetFacts
from psdt_planner.protocol import Condition


def unmet(facts: TargetFacts, when: Condition, targets: int) -> str:
    """Why a condition does not hold, with its source; empty where it does. What is not known does not hold."""
    why = next(_unmet_parts(facts, when, targets), "")
    if not why:
        return ""
    return f"{why} ({when.source}{', low certainty' if when.certainty == 'L' else ''})"


def _unmet_parts(facts: TargetFacts, when: Condition, targets: int) -> Iterator[str]:
    if when.max_uncertainty_mm is not None and facts.uncertainty_mm > when.max_uncertainty_mm:
        yield f"uncertainty {facts.uncertainty_mm:.1f} mm, at most {when.max_uncertainty_mm:g} mm"
    if when.max_ptv_ml is not None and facts.ptv_volume_ml > when.max_ptv_ml:
        yield f"PTV {facts.ptv_volume_ml:.1f} ml, at most {when.max_ptv_ml:g} ml"
    if when.max_targets is not None and targets > when.max_targets:
        yield f"{targets} targets, at most {when.max_targets}"
    yield from _unmet_size(facts.diameter_mm, when)
    if when.min_months_since is not None and (facts.months_since or 0.0) < when.min_months_since:
        known = "not known" if facts.months_since is None else f"{facts.months_since:.1f} months"
        yield f"interval since earlier radiotherapy {known}, at least {when.min_months_since:g} months"
    yield from filter(None, (_too_near(facts, organ, when.clear_mm) for organ in when.clear_of))


def _unmet_size(diameter_mm: float | None, when: Condition) -> Iterator[str]:
    low, high = when.above_diameter_mm, when.max_diameter_mm
    if diameter_mm is None and (low is not None or high is not None):
        yield "the largest diameter was not measured"
    elif diameter_mm is not None and high is not None and diameter_mm > high:
        yield f"largest diameter {diameter_mm:.0f} mm, at most {high:g} mm"
    elif diameter_mm is not None and low is not None and diameter_mm <= low:
        yield f"largest diameter {diameter_mm:.0f} mm, above {low:g} mm"


def _too_near(facts: TargetFacts, organ: str, clear_mm: float) -> str:
    """Why a target is not known to be clear of an organ; empty where it is."""
    seen = [at for at in facts.organs if at.organ == organ and at.distance_mm is not None]
    if not seen:
        return f"{organ} was not seen, of which the PTV must be clear"
    nearest = min(seen, key=lambda at: at.distance_mm or 0.0)
    if nearest.overlap_ml > 0.0 or not nearest.distance_mm:
        return f"the PTV reaches {nearest.name}"
    if nearest.distance_mm < clear_mm:
        return f"{nearest.name} {nearest.distance_mm:.1f} mm away, at least {clear_mm:g} mm"
    return ""

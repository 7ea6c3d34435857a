"""Regions on diffusion images: grown around a point that a reader marked, and places that meet the same rule.

Pure. What comes of it is semiautomatic: for a person to look at, and never a target by itself.
"""

from __future__ import annotations

from psdt_planner.regions.candidates import Candidate, find_candidates
from psdt_planner.regions.grow import NotGrownError, Pair, Region, grow, pairs
from psdt_planner.regions.places import Body, BodyPlace, body_of, side_of
from psdt_planner.regions.rule import Rule, parse_rule

__all__ = [
    "Body",
    "BodyPlace",
    "Candidate",
    "NotGrownError",
    "Pair",
    "Region",
    "Rule",
    "body_of",
    "find_candidates",
    "grow",
    "pairs",
    "parse_rule",
    "side_of",
]

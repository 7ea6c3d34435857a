"""The clinical tables: regimens, margins, limits and α/β by site, each row with its source.

A protocol is one TOML file or several (``psdt_planner/protocols/psdt-crpc/`` shows every key), and what a clinic lays
over it. This room reads the texts, says line and field of what is wrong with them, and decides nothing:
`psdt_planner.screen` and `psdt_planner.fractionation` do. No clinical number stands here; the bounds below only tell a
typing mistake from a clinic's choice.
"""

from psdt_planner.protocol.anatomy import InBone, Overlaps, Sector, SectorRule, Sectors, Skin, Spare
from psdt_planner.protocol.checks import SITE_KEYS, folded
from psdt_planner.protocol.cited import Basis, Certainty, Cited
from psdt_planner.protocol.compare import Difference, differences
from psdt_planner.protocol.constraints import BINDING, Constraint, ConstraintSet, Limit, OrganRow
from psdt_planner.protocol.falloff import FallOff, LinearContinuation
from psdt_planner.protocol.files import SCHEMA, base_of
from psdt_planner.protocol.limits import near_maximum_limits, other_limits, sets_of
from psdt_planner.protocol.read import parse_files, parse_protocol
from psdt_planner.protocol.reirradiation import CumulativeLimit, NearEarlier, Recovery, Reirradiation
from psdt_planner.protocol.rows import Condition, Margin, Protocol, Regimen, SiteRule, TargetCount

__all__ = [
    "BINDING",
    "SCHEMA",
    "SITE_KEYS",
    "Basis",
    "Certainty",
    "Cited",
    "Condition",
    "Constraint",
    "ConstraintSet",
    "CumulativeLimit",
    "Difference",
    "FallOff",
    "InBone",
    "Limit",
    "LinearContinuation",
    "Margin",
    "NearEarlier",
    "OrganRow",
    "Overlaps",
    "Protocol",
    "Recovery",
    "Regimen",
    "Reirradiation",
    "Sector",
    "SectorRule",
    "Sectors",
    "SiteRule",
    "Skin",
    "Spare",
    "TargetCount",
    "base_of",
    "differences",
    "folded",
    "near_maximum_limits",
    "other_limits",
    "parse_files",
    "parse_protocol",
    "sets_of",
]

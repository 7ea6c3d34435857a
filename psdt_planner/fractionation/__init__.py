"""What dose, in how many fractions: a proposal with its rule and source, or an abstention with its reasons."""

from psdt_planner.fractionation.propose import EARLIER_NOT_EVALUATED, NO_ORGANS, propose
from psdt_planner.fractionation.types import Abstention, Alternative, Ground, Proposal, Schedule, TargetFacts

__all__ = [
    "EARLIER_NOT_EVALUATED",
    "NO_ORGANS",
    "Abstention",
    "Alternative",
    "Ground",
    "Proposal",
    "Schedule",
    "TargetFacts",
    "propose",
]

"""The pure whole: from an exam and a protocol to a plan, which proposes or holds and never guesses."""

from psdt_planner.planning.channels import Channels, channels_of
from psdt_planner.planning.course import Course, course_of
from psdt_planner.planning.flagged import BONE_SITES
from psdt_planner.planning.load import load_of
from psdt_planner.planning.prior import Compared, compare_exams
from psdt_planner.planning.targets import plain
from psdt_planner.planning.types import Exclusion, LesionStatus, Plan, PlannedLesion, PlanStatus
from psdt_planner.planning.whole import Progress, plan

__all__ = [
    "BONE_SITES",
    "Channels",
    "Compared",
    "Course",
    "Exclusion",
    "LesionStatus",
    "Plan",
    "PlanStatus",
    "PlannedLesion",
    "Progress",
    "channels_of",
    "compare_exams",
    "course_of",
    "load_of",
    "plain",
    "plan",
]

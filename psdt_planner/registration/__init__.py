"""Registration: from the MR's frame to the planning CT's, for the case and for each lesion, with how sure we are."""

from psdt_planner.registration.case import register_case
from psdt_planner.registration.lesion import LesionRegistrar, Place
from psdt_planner.registration.levels import LevelCheck, check_levels
from psdt_planner.registration.types import CaseRegistration, LesionRegistration, RegistrationSource

__all__ = [
    "CaseRegistration",
    "LesionRegistrar",
    "LesionRegistration",
    "LevelCheck",
    "Place",
    "RegistrationSource",
    "check_levels",
    "register_case",
]

"""Registration: from the MR's frame to the planning CT's, for the case and for each lesion, with how sure we are."""

from psdt_planner.registration.case import register_case
from psdt_planner.registration.courses import CoursePlaces, register_course
from psdt_planner.registration.exams import ExamImages, ExamsRegistrar, ExamsRegistration, PriorPlace, register_exams
from psdt_planner.registration.lesion import LesionRegistrar, Place
from psdt_planner.registration.levels import LevelCheck, check_levels
from psdt_planner.registration.types import CaseRegistration, LesionRegistration, RegistrationSource

__all__ = [
    "CaseRegistration",
    "CoursePlaces",
    "ExamImages",
    "ExamsRegistrar",
    "ExamsRegistration",
    "LesionRegistrar",
    "LesionRegistration",
    "LevelCheck",
    "Place",
    "PriorPlace",
    "RegistrationSource",
    "check_levels",
    "register_case",
    "register_course",
    "register_exams",
]

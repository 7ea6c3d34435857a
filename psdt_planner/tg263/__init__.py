"""ROI names by AAPM report 263 (TG-263, 2018): those of targets, and those of organs with their SNOMED CT codes."""

from psdt_planner.tg263.anatomy import ANATOMY, Anatomy, Code
from psdt_planner.tg263.organs import LONGEST_NAME, OrganName, recognise
from psdt_planner.tg263.targets import (
    CLASSIFIERS,
    TARGET_TYPES,
    NumericDose,
    TargetName,
    dose_per_fraction,
)

__all__ = [
    "ANATOMY",
    "CLASSIFIERS",
    "LONGEST_NAME",
    "TARGET_TYPES",
    "Anatomy",
    "Code",
    "NumericDose",
    "OrganName",
    "TargetName",
    "dose_per_fraction",
    "recognise",
]

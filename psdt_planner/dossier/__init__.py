"""From files to the folder that a plan leaves behind: the one way in for the command line and the worker."""

from psdt_planner.dossier.contoured import Contoured, contour_masks
from psdt_planner.dossier.course import HistoryText, load_criteria, load_history
from psdt_planner.dossier.destinations import for_destination
from psdt_planner.dossier.files import write_whole
from psdt_planner.dossier.make import Dossier, make_dossier
from psdt_planner.dossier.plan_json import finding_json, plan_json
from psdt_planner.shipped import GENERIC, load_destination, load_protocol, shipped_destinations

__all__ = [
    "GENERIC",
    "Contoured",
    "Dossier",
    "HistoryText",
    "contour_masks",
    "finding_json",
    "for_destination",
    "load_criteria",
    "load_destination",
    "load_history",
    "load_protocol",
    "make_dossier",
    "plan_json",
    "shipped_destinations",
    "write_whole",
]

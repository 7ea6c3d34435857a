"""From files to the folder that a plan leaves behind: the one way in for the command line and the worker."""

from psdt_planner.dossier.make import Dossier, load_protocol, make_dossier
from psdt_planner.dossier.plan_json import finding_json, plan_json

__all__ = ["Dossier", "finding_json", "load_protocol", "make_dossier", "plan_json"]

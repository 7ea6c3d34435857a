"""Commissioning: phantoms through the whole of psdt, and a physicist's report on what it makes of them."""

from fixtures.patient import Size
from fixtures.regions import Region
from psdt_planner.commission.figures import Figure, figures, missed
from psdt_planner.commission.page import Made, render_html, render_markdown, report_json
from psdt_planner.commission.rows import CaseRow, LesionRow, Rows, Trial, TrialKind
from psdt_planner.commission.runs import Job, plan_jobs, run_jobs

__all__ = [
    "CaseRow",
    "Figure",
    "Job",
    "LesionRow",
    "Made",
    "Region",
    "Rows",
    "Size",
    "Trial",
    "TrialKind",
    "figures",
    "missed",
    "plan_jobs",
    "render_html",
    "render_markdown",
    "report_json",
    "run_jobs",
]

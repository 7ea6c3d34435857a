"""Commissioning: phantoms through psdt, known solids through its contours, and a physicist's report on both."""

from fixtures.patient import Size
from fixtures.regions import Region
from psdt_planner.commission.contours.rows import ContourRows, run_contours
from psdt_planner.commission.contours.section import contours_section
from psdt_planner.commission.figures import Figure, figures, missed
from psdt_planner.commission.page import Made, mapping_section, render_html, render_markdown, report_json
from psdt_planner.commission.rows import CaseRow, LesionRow, Rows, Trial, TrialKind
from psdt_planner.commission.runs import Job, plan_jobs, run_jobs
from psdt_planner.commission.section import Section, all_missed

__all__ = [
    "CaseRow",
    "ContourRows",
    "Figure",
    "Job",
    "LesionRow",
    "Made",
    "Region",
    "Rows",
    "Section",
    "Size",
    "Trial",
    "TrialKind",
    "all_missed",
    "contours_section",
    "figures",
    "mapping_section",
    "missed",
    "plan_jobs",
    "render_html",
    "render_markdown",
    "report_json",
    "run_contours",
    "run_jobs",
]

"""What a person reads: the report as one HTML file, and the proposal as PDF."""

from psdt_planner.report.page import render_report
from psdt_planner.report.pdf import proposal_pdf

__all__ = ["proposal_pdf", "render_report"]

"""What a person reads: the report as one HTML file, and the proposal as PDF."""

from psdt_planner.report.course import CourseSection, course_lines, course_section
from psdt_planner.report.page import render_report
from psdt_planner.report.pdf import proposal_pdf
from psdt_planner.report.registration_record import ImageSeries, RegistrationRecord, registration_records

__all__ = [
    "CourseSection",
    "ImageSeries",
    "RegistrationRecord",
    "course_lines",
    "course_section",
    "proposal_pdf",
    "registration_records",
    "render_report",
]

"""``report.html``: one file that opens without a network, for the person who must decide."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from psdt_planner.case import REGISTRATION_USES
from psdt_planner.exam import Exam
from psdt_planner.findings import Level
from psdt_planner.fractionation import Proposal
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.images import Volume
from psdt_planner.lesions import FlaggedPoint, todo
from psdt_planner.planning import Plan, PlannedLesion, PlanStatus
from psdt_planner.report import words
from psdt_planner.report.course import course_section
from psdt_planner.report.earlier import TargetRows, earlier_section, target_rows
from psdt_planner.report.load import load_section
from psdt_planner.report.organs import OrganRow, in_short, organ_rows
from psdt_planner.report.pictures import FLAG_COLOUR, LINE_STYLE, Picture, pictures, series_name
from psdt_planner.report.registration_record import ImageSeries, registration_records
from psdt_planner.report.surroundings import Surroundings, surroundings

DASHES = {"-": "solid", "--": "dashed", ":": "dotted"}
"""Line styles of the pictures as CSS has them."""


@dataclass(frozen=True)
class InputRow:
    """One thing that came in."""

    what: str
    detail: str
    uid: str


@dataclass(frozen=True)
class LegendRow:
    """One kind of line in a lesion's pictures: its name, CSS colour and CSS line style."""

    name: str
    colour: str
    style: str


@dataclass(frozen=True)
class PointRow:
    """A marked place that is no lesion by itself, and what is to be done about it."""

    heading: str
    site: str
    side: str
    place: str
    todo: str


@dataclass(frozen=True)
class LesionView:
    """All that the page shows of one lesion."""

    lesion: PlannedLesion
    heading: str
    outcome: str
    reasons: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]
    legend: tuple[LegendRow, ...]
    proposal: Proposal | None
    organs: tuple[OrganRow, ...]
    in_short: str
    around: Surroundings
    earlier: TargetRows | None


def render_report(
    plan: Plan, *, version: str, made_at: datetime, patient: str = "", series: Iterable[ImageSeries] = ()
) -> str:
    """The report as HTML, with its style and pictures inside.

    What holds the case and what has no dose comes first. Everything that came in as text is escaped. The same
    arguments give the same text.

    Args:
        plan: what is reported.
        version: of psdt.
        made_at: when the plan was made, with its time zone.
        patient: how the reader knows the patient; shown as given. Empty where the report is to name nobody.
        series: descriptions and dates of what came in, for the record of each registration.
    """
    environment = Environment(
        loader=PackageLoader("psdt_planner.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html").render(
        plan=plan,
        held=plan.status is PlanStatus.HELD,
        case_holds=[finding for finding in plan.findings if finding.level is Level.HOLD and not finding.lesion],
        needing=[_view(lesion, plan, with_pictures=False) for lesion in words.needing_a_person(plan)],
        lesions=[_view(lesion, plan, with_pictures=True) for lesion in plan.lesions],
        points=[_point(point, plan.exam) for point in plan.exam.points],
        findings=words.by_weight(plan.findings),
        inputs=list(_inputs(plan.exam)),
        records=registration_records(plan, series),
        uses=REGISTRATION_USES,
        methods=words.methods(plan, version),
        course=course_section(plan.course) if plan.course else None,
        load=load_section(plan.load) if plan.load else None,
        earlier=earlier_section(plan),
        words=words,
        version=version,
        made_at=made_at.isoformat(sep=" ", timespec="minutes"),
        patient=patient,
    )


def _view(lesion: PlannedLesion, plan: Plan, *, with_pictures: bool) -> LesionView:
    legend = [LegendRow("flag on the MR", FLAG_COLOUR, "solid")]
    legend += [
        LegendRow(roi.name, "#{:02x}{:02x}{:02x}".format(*roi.colour), DASHES[LINE_STYLE[roi.kind]])
        for roi in lesion.rois
    ]
    proposal = lesion.proposal if isinstance(lesion.proposal, Proposal) else None
    return LesionView(
        lesion=lesion,
        heading=words.heading(lesion),
        outcome=words.outcome(lesion),
        reasons=words.reasons(lesion),
        figures=tuple(words.figures(lesion)),
        pictures=pictures(lesion, plan.exam) if with_pictures else (),
        legend=tuple(legend),
        proposal=proposal,
        organs=organ_rows(proposal) if proposal else (),
        in_short=in_short(proposal) if proposal else "",
        around=surroundings(lesion, plan.relations),
        earlier=target_rows(lesion.earlier),
    )


def _point(point: FlaggedPoint, exam: Exam) -> PointRow:
    x, y, z = point.point_mm
    return PointRow(
        heading=f"{point.id}: {point.label}" if point.label else point.id,
        site=words.sourced(point.site, point.site_source),
        side=words.sourced(point.side.value, point.side_source),
        place=f"{x:.1f}, {y:.1f}, {z:.1f} mm in frame {point.frame}",
        todo=todo(point, exam.flags),
    )


def _inputs(exam: Exam) -> Iterator[InputRow]:
    if exam.planning_ct is not None:
        yield _series("planning CT", exam.planning_ct)
    for volume in exam.mr:
        yield _series(f"MR {series_name(volume)}", volume)
    prior = exam.prior
    for volume in prior.mr if prior else ():
        yield _series(f"prior MR {series_name(volume)}", volume)
    flags = (*exam.flags, *(prior.flags if prior else ()))
    for uid in dict.fromkeys(flag.source.sop_instance_uid for flag in flags):
        lesions = ", ".join(flag.id for flag in flags if flag.source.sop_instance_uid == uid)
        yield InputRow("flags", lesions, uid)
    for uid in dict.fromkeys(organ.source_uid for organ in exam.organs):
        names = ", ".join(organ.name for organ in exam.organs if organ.source_uid == uid)
        yield InputRow("organs", f"{names}; screened by distance, their dose was not computed", uid)
    for uid in dict.fromkeys(landmark.source_uid for landmark in exam.landmarks):
        names = ", ".join(landmark.name for landmark in exam.landmarks if landmark.source_uid == uid)
        yield InputRow("landmarks", names, uid)
    for volume in exam.earlier_cts:
        yield _series("earlier CT", volume)
    for course in exam.courses:
        what = f"{course.id}: {course.prescription_gy:g} Gy in {course.fractions}; {_size(course.dose.grid)}"
        yield InputRow("earlier dose", what, course.dose_uid)
    for registration in exam.registrations:
        kind = "rigid" if isinstance(registration.transform, Rigid) else "deformable"
        yield InputRow("registration", kind, registration.source_uid)


def _series(what: str, volume: Volume) -> InputRow:
    return InputRow(what, f"{_size(volume.grid)}; frame {volume.grid.frame}", ", ".join(volume.series_uids))


def _size(grid: Grid) -> str:
    slices, rows, columns = grid.shape
    j_mm, i_mm = grid.spacing_ji_mm
    gap = f"{grid.slice_gap_mm:g}" if slices > 1 else "?"
    return f"{slices} × {rows} × {columns} voxels of {gap} × {j_mm:g} × {i_mm:g} mm"


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"

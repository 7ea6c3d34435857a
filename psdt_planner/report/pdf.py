"""The proposal as a PDF, for the planning system's document view: one table a lesion, marked on every page."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import matplotlib as mpl
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from psdt_planner.fractionation import Proposal
from psdt_planner.planning import LesionStatus, Plan, PlannedLesion, PlanStatus
from psdt_planner.report import words
from psdt_planner.report.earlier import EarlierSection, earlier_section, target_rows
from psdt_planner.report.organs import in_short, organ_lines

REGULAR: Final = "psdt-sans"
BOLD: Final = "psdt-sans-bold"
FONT_FILES: Final = {REGULAR: "DejaVuSans.ttf", BOLD: "DejaVuSans-Bold.ttf"}
"""DejaVu, which comes with matplotlib: it has the Greek letters that the PDF standard fonts lack."""

MARGIN: Final = 16 * mm
STOP: Final = colors.HexColor("#9b1c1c")
RULE: Final = colors.HexColor("#c3cad1")
WASH: Final = colors.HexColor("#f4f6f8")
NAMES_WIDTH: Final = 38 * mm

TEXT: Final = ParagraphStyle("text", fontName=REGULAR, fontSize=8.5, leading=11.5)
NAME: Final = ParagraphStyle("name", parent=TEXT, fontName=BOLD)
HEAD: Final = ParagraphStyle("head", parent=TEXT, fontName=BOLD, fontSize=11, leading=14)
DOSE: Final = ParagraphStyle("dose", parent=TEXT, fontName=BOLD, fontSize=12, leading=15)
TITLE: Final = ParagraphStyle("title", parent=TEXT, fontName=BOLD, fontSize=15, leading=19)


def proposal_pdf(plan: Plan, *, version: str, made_at: datetime, patient: str = "") -> bytes:
    """The plan's proposals as the bytes of a PDF; the same arguments give the same bytes.

    Characters that the font lacks are written as their code (``\\u5de6``), never left out.

    Args:
        plan: what is proposed; lesions without a dose are listed with the reasons.
        version: of psdt.
        made_at: when the plan was made, with its time zone.
        patient: how the reader knows the patient; shown as given. Empty where the document is to name nobody.
    """
    _register_fonts()
    buffer = io.BytesIO()
    document = BaseDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN + 8 * mm,
        bottomMargin=MARGIN,
        title=words.MARK,
        author=f"psdt {version}",
        invariant=1,
    )
    frame = Frame(document.leftMargin, document.bottomMargin, document.width, document.height, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate("all", [frame], onPage=_mark_page))
    document.build(list(_story(plan, version, made_at, patient, document.width)))
    return buffer.getvalue()


def _register_fonts() -> None:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name, file in FONT_FILES.items():
        if name not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(name, str(folder / file)))


def _mark_page(canvas: Canvas, document: BaseDocTemplate) -> None:
    """The mark at the top of every page, and its number at the bottom."""
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(STOP)
    canvas.rect(0, height - 14 * mm, width, 14 * mm, stroke=0, fill=1)
    canvas.setFillColor(colors.white)
    canvas.setFont(BOLD, 12)
    canvas.drawCentredString(width / 2, height - 9 * mm, words.MARK)
    canvas.setFillColor(colors.black)
    canvas.setFont(REGULAR, 8)
    canvas.drawCentredString(width / 2, 9 * mm, f"page {document.page}")
    canvas.restoreState()


def _story(plan: Plan, version: str, made_at: datetime, patient: str, width: float) -> Iterator[Flowable]:
    yield _paragraph(f"Dose proposals for {words.counted(len(plan.lesions), 'flagged lesion')}", TITLE)
    held = "HELD: no structure set was written. " if plan.status is PlanStatus.HELD else ""
    yield _paragraph(f"{held}{words.BANNER}", NAME)
    made = f"Made {made_at.isoformat(sep=' ', timespec='minutes')} by psdt {version}."
    protocol = f"Protocol {plan.protocol.name} ({plan.protocol.status}), SHA-256 {plan.protocol.sha256}."
    yield _paragraph(" ".join(filter(None, [f"Patient {patient}." if patient else "", made, protocol])), TEXT)
    if plan.lesions:
        yield Spacer(0, 5 * mm)
        yield _overview(plan, width)
    earlier = earlier_section(plan)
    if earlier is not None:
        yield Spacer(0, 5 * mm)
        yield _earlier(earlier, width)
    for lesion in plan.lesions:
        yield Spacer(0, 5 * mm)
        yield _table(lesion, width)
    yield Spacer(0, 5 * mm)
    yield _paragraph(words.methods(plan, version), TEXT)


def _overview(plan: Plan, width: float) -> Table:
    """A row a lesion: what became of it."""
    rows = [[_paragraph(words.heading(lesion), NAME), _paragraph(_outcome(lesion), TEXT)] for lesion in plan.lesions]
    return Table(rows, colWidths=[width / 2] * 2, style=TableStyle([("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE)]))


def _outcome(lesion: PlannedLesion) -> str:
    """What became of the lesion, and what the organs say of it."""
    if not isinstance(lesion.proposal, Proposal):
        return words.outcome(lesion)
    return f"{words.outcome(lesion)}; organs by distance: {in_short(lesion.proposal)}"


def _earlier(section: EarlierSection, width: float) -> Table:
    """Earlier courses, and what each organ got."""
    rows = [[_paragraph("Earlier radiotherapy", HEAD), ""]]
    for course in section.courses:
        text = f"{course.prescribed}; {course.interval} ago; placed by: {course.placed} ({course.sure})"
        rows.append([_paragraph(course.name, NAME), _paragraph(text, TEXT)])
    for organ in section.organs:
        left = f"; {organ.figure} of it used, {organ.left} left ({organ.source})" if organ.source and organ.left else ""
        text = f"maximum {organ.most}; EQD2 (α/β): {organ.eqd2}; dose known in {organ.known}. {organ.limit}{left}"
        rows.append([_paragraph(organ.name, NAME), _paragraph(text, TEXT)])
    rows.append([_paragraph("All of these", NAME), _paragraph(f"{section.recovery} {section.note}", TEXT)])
    return Table(rows, colWidths=[NAMES_WIDTH, width - NAMES_WIDTH], style=BOXED, repeatRows=1)


BOXED: Final = TableStyle(
    [
        ("SPAN", (0, 0), (1, 0)),
        ("BACKGROUND", (0, 0), (1, 0), WASH),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
        ("BOX", (0, 0), (-1, -1), 0.8, colors.black),
    ]
)


def _table(lesion: PlannedLesion, width: float) -> Table:
    """The lesion's heading, then a row for each thing that is known or proposed."""
    rows = [[_paragraph(words.heading(lesion), HEAD), ""]]
    rows += [[_paragraph(name, NAME), _paragraph(text, style)] for name, text, style in _rows(lesion)]
    style = TableStyle(
        [
            ("SPAN", (0, 0), (1, 0)),
            ("BACKGROUND", (0, 0), (1, 0), WASH),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
            ("BOX", (0, 0), (-1, -1), 0.8, colors.black if lesion.status is LesionStatus.MAPPED else STOP),
        ]
    )
    return Table(rows, colWidths=[NAMES_WIDTH, width - NAMES_WIDTH], style=style, repeatRows=1)


def _rows(lesion: PlannedLesion) -> Iterator[tuple[str, str, ParagraphStyle]]:
    proposal = lesion.proposal
    if isinstance(proposal, Proposal):
        yield "Proposed", words.dose(proposal), DOSE
        for name, table in (("BED", proposal.bed_gy), ("EQD2", proposal.eqd2_gy)):
            yield name, "; ".join(f"{gy:.1f} Gy at α/β {key} Gy" for key, gy in table.items()), TEXT
        if proposal.lql_bed_gy:
            lql = "; ".join(f"{gy:.1f} Gy at α/β {key} Gy" for key, gy in proposal.lql_bed_gy.items())
            yield "BED by LQ-L", lql, TEXT
        first = words.looked_at_first(proposal)
        for n, line in enumerate(first):
            yield ("" if n else "Look at this first"), line, NAME
        yield "Then at this", " ".join(one for one in proposal.cautions if one not in first), TEXT
        for n, line in enumerate(organ_lines(proposal)):
            yield ("" if n else "Organs by distance"), line, TEXT
        yield "Rule", f"{proposal.rule}; certainty {proposal.certainty}; TG-263 suffix {proposal.tg263_suffix}", TEXT
        yield "Decided by", "; ".join(proposal.decided_by), TEXT
        yield "Sources", "; ".join(proposal.sources), TEXT
        beside = [
            f"{other.schedule} ({other.why_not}; {other.source}; certainty {other.certainty})"
            for other in proposal.alternatives
        ]
        yield "Alternatives", "; ".join(beside) or "none in the protocol", TEXT
    else:
        yield "Proposed", f"no dose ({words.outcome(lesion)})", DOSE
        yield "Reasons", " ".join(words.reasons(lesion)), NAME
    earlier = target_rows(lesion.earlier)
    for name, text in earlier.facts if earlier else ():
        yield name, text, TEXT
    for schedule, sums, organs in earlier.schedules if earlier else ():
        each = "; ".join(
            f"{gy} Gy at α/β {key} Gy" for key, gy in zip(earlier.keys if earlier else (), sums, strict=True)
        )
        yield f"All courses with {schedule}", f"EQD2 in the target {each}. {organs}".strip(), TEXT
    for name, text in words.figures(lesion):
        yield name, text, TEXT


def _paragraph(text: str, style: ParagraphStyle) -> Paragraph:
    return Paragraph(escape(_printable(text, style.fontName)), style)


def _printable(text: str, font: str) -> str:
    """The text with each character that the font lacks written as its code."""
    known = pdfmetrics.getFont(font).face.charToGlyph
    return "".join(c if ord(c) in known else c.encode("ascii", "backslashreplace").decode("ascii") for c in text)

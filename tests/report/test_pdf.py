"""The PDF: marked on every page, the same bytes for the same plan, and no character lost."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from psdt_planner.planning import Plan
from psdt_planner.report import proposal_pdf
from psdt_planner.report.words import MARK
from tests.peers import require_peer
from tests.report.conftest import MADE_AT


def made(plan: Plan, **changes: Any) -> bytes:
    return proposal_pdf(plan, **{"version": "0.1.0", "made_at": MADE_AT, "patient": "ID 4711", **changes})


def page_count(pdf: bytes) -> int:
    return len(re.findall(rb"/Type /Page\b", pdf))


def unicode_maps(pdf: bytes) -> set[int]:
    """All code points that the document's fonts are told to stand for (PDF 32000-1, 9.10.3)."""
    found: set[int] = set()
    for head in re.finditer(rb"/Filter \[ /FlateDecode \] /Length (\d+)\s*>>\s*stream\r?\n", pdf):
        text = zlib.decompress(pdf[head.end() : head.end() + int(head[1])])
        found.update(int(code, 16) for code in re.findall(rb"<[0-9A-F]{2}> <([0-9A-F]{4})>", text))
    return found


@pytest.fixture
def read(tmp_path: Path):
    """The text of each page as Ghostscript reads it."""
    require_peer("gs")

    def pages(pdf: bytes) -> list[str]:
        (tmp_path / "in.pdf").write_bytes(pdf)
        out = tmp_path / "page-%03d.txt"
        command = ["gs", "-q", "-dSAFER", "-dNOPAUSE", "-dBATCH", "-sDEVICE=txtwrite", f"-sOutputFile={out}"]
        subprocess.run([*command, str(tmp_path / "in.pdf")], check=True, timeout=60)
        return [" ".join(file.read_text(encoding="utf-8").split()) for file in sorted(tmp_path.glob("page-*.txt"))]

    return pages


def test_it_is_a_pdf_that_says_what_it_is(plan: Plan) -> None:
    pdf = made(plan)

    assert pdf.startswith(b"%PDF-1.")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert f"/Title ({MARK})".encode() in pdf
    assert b"/Author (psdt 0.1.0)" in pdf


def test_the_same_plan_gives_the_same_bytes(plan: Plan) -> None:
    pdf = made(plan)

    assert made(plan) == pdf
    assert made(plan, made_at=MADE_AT + timedelta(minutes=1)) != pdf


def test_it_holds_no_date_of_its_own(plan: Plan) -> None:
    [created] = re.findall(rb"/CreationDate \(D:(\d{4})", made(plan))

    assert created == b"2000"


def test_its_fonts_are_inside(plan: Plan) -> None:
    pdf = made(plan)

    assert pdf.count(b"/FontFile2") == 2
    # Helvetica is in every PDF of reportlab as the font of a new page; nothing may be written in it that it lacks.
    assert b"DejaVuSans-Bold" in pdf


def test_letters_beyond_ascii_are_there_as_themselves(plan: Plan) -> None:
    lesion = plan.lesions[0]
    flag = dataclasses.replace(lesion.flag, label="žebro Ω")

    meant = unicode_maps(made(dataclasses.replace(plan, lesions=(dataclasses.replace(lesion, flag=flag),))))

    assert {ord(letter) for letter in "žΩαβ×⁻³²"} <= meant


def test_every_page_is_marked(plan: Plan, read: Any) -> None:
    pdf = made(plan)
    pages = read(pdf)

    assert len(pages) == page_count(pdf) >= 3
    assert all(page.startswith(MARK) for page in pages)
    assert [page.split()[-2:] for page in pages] == [["page", str(n)] for n in range(1, len(pages) + 1)]


def test_each_lesion_has_its_dose_with_source_and_meaning(plan: Plan, read: Any) -> None:
    text = " ".join(read(made(plan)))

    # Once in the overview, once in the lesion's own table.
    assert text.count("30 Gy in 3 fractions of 10 Gy") == 2 * 3
    assert "no dose (mapped, no dose proposed)" in text
    # Ghostscript does not read Greek letters back from a subset font; that they are there is tested below.
    assert re.search(r"230\.0 Gy at .{3} 1\.5 Gy; 130\.0 Gy at .{3} 3 Gy; 60\.0 Gy at .{3} 10 Gy", text)
    for words in (
        "Patient ID 4711.",
        "TG-263 suffix _1000x3",
        "NRG-BR001, JAMA Oncol 2021 (PMC8063134)",
        "Earlier radiotherapy was not evaluated.",
        "Bladder: needs planning (overlap 1.25 ml",
        "Bowel_Small: not evaluated (not contoured)",
        "2 likely ok; 1 not",
        "not a medical device",
        "Low certainty: CTV margin, distance to the skin.",
        "L3: obturator node, left",
    ):
        assert words in text, words


def test_a_held_plan_says_so(held_plan: Plan, read: Any) -> None:
    text = " ".join(read(made(held_plan)))

    assert "HELD: no structure set was written." in text
    assert "L2 is uncertain by 9.0 mm." in text
    assert "no dose (excluded by a person)" in text


def test_markup_in_a_label_is_text(plan: Plan, read: Any) -> None:
    lesion = plan.lesions[0]
    flag = dataclasses.replace(lesion.flag, label="<b>5 < 6 & so on</i>")

    text = " ".join(read(made(dataclasses.replace(plan, lesions=(dataclasses.replace(lesion, flag=flag),)))))

    assert "L1: <b>5 < 6 & so on</i>" in text


def test_a_character_that_the_font_lacks_is_written_as_its_code(plan: Plan, read: Any) -> None:
    lesion = plan.lesions[0]
    flag = dataclasses.replace(lesion.flag, label="rib 左腸骨")

    text = " ".join(read(made(dataclasses.replace(plan, lesions=(dataclasses.replace(lesion, flag=flag),)))))

    assert r"L1: rib \u5de6\u8178\u9aa8" in text


def test_a_plan_without_lesions_is_still_a_document(plan: Plan) -> None:
    assert page_count(made(dataclasses.replace(plan, lesions=()))) == 1


def test_a_lesion_longer_than_a_page_goes_on_over_the_next(plan: Plan, read: Any) -> None:
    lesion = plan.lesions[0]
    proposal = dataclasses.replace(lesion.proposal, cautions=tuple(f"Caution number {n}." for n in range(200)))
    long = dataclasses.replace(plan, lesions=(dataclasses.replace(lesion, proposal=proposal),))

    pages = read(made(long))

    assert len(pages) >= 2
    assert all(f"Caution number {n}." in " ".join(pages) for n in range(200))

"""docs/lint.md says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from psdt_planner.lint.codes import CODES, FOR_DESTINATION, IS_IT_RIGHT, WILL_IT_OPEN

PAGE = (Path(__file__).parents[2] / "docs" / "lint.md").read_text(encoding="utf-8")


def test_the_page_has_every_complaint_in_the_code_s_own_words() -> None:
    rows = [
        tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in PAGE.splitlines() if line.startswith("| `")
    ]
    assert rows == [(f"`{name}`", code.level.value, code.means, code.do) for name, code in CODES.items()]


def test_codes_are_stable_words_and_sentences_are_plain() -> None:
    assert len(CODES) == len(WILL_IT_OPEN) + len(FOR_DESTINATION) + len(IS_IT_RIGHT)
    for name, code in CODES.items():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name), name
        assert code.means[0].islower() or code.means.startswith(("NumberOf", "Contour", "SOP", "Modality")), name
        assert not code.means.endswith("."), name
        assert not code.do.endswith("."), name


def test_errors_and_warnings_say_what_to_do() -> None:
    assert not [name for name, code in CODES.items() if code.level != "note" and not code.do]

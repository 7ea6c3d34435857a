"""The rows about earlier radiotherapy: each limit with its interval, and recovery, which is off."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from psdt_planner.errors import ProtocolError
from psdt_planner.protocol import Protocol, Reirradiation, parse_protocol
from tests.protocol.conftest import CITED, ROUND_NUMBERS

# Organs; EQD2 and α/β in Gy; hottest volume in ml; from months on; presumes recovery; source; basis; certainty.
SHIPPED = """
SpinalCord,SpinalCanal,ThecalSac         70 2 0   5  False HyTEC  transcribed H
Bladder                                  80 3 0.5 0  False Pelvic read        M
Bladder                                 110 3 0.5 12 True  Pelvic read        M
CaudaEquina,SacralPlex                   67 2 0.1 0  False Pelvic read        M
CaudaEquina,SacralPlex                   85 2 0.1 12 True  Pelvic read        M
Bowel_Small,Jejunum_Ileum                70 3 0.5 0  False Pelvic read        M
Bowel_Small,Jejunum_Ileum                90 3 0.5 12 True  Pelvic read        M
Colon,Colon_Sigmoid,Bowel_Large,Rectum   80 3 0.5 0  False Pelvic read        M
Colon,Colon_Sigmoid,Bowel_Large,Rectum  100 3 0.5 12 True  Pelvic read        M
"""

TABLE = f"""
[reirradiation]
recovery_on = true
never_recovered = ["SpinalCord"]

[reirradiation.near]
isodose_part = 0.5
distance_mm = 20.0
{CITED}
[[reirradiation.limits]]
organs = ["Rectum", "SpinalCord"]
eqd2_gy = 80.0
alpha_beta_gy = 3.0
volume_ml = 0.5
from_months = 2.0
{CITED}
[[reirradiation.limits]]
organs = ["Rectum"]
eqd2_gy = 100.0
alpha_beta_gy = 3.0
volume_ml = 0.5
from_months = 12.0
with_recovery = true
{CITED}
[[reirradiation.recovery]]
from_months = 6.0
part = 0.25
{CITED}
[[reirradiation.recovery]]
from_months = 12.0
part = 0.5
{CITED}"""


def table(old: str = "", new: str = "") -> Reirradiation:
    assert old in TABLE
    found = parse_protocol(ROUND_NUMBERS + TABLE.replace(old, new, 1) if old else ROUND_NUMBERS + TABLE, "round")
    assert found.reirradiation is not None
    return found.reirradiation


def test_every_shipped_limit_stands_with_its_source(shipped: Protocol) -> None:
    assert shipped.reirradiation is not None
    found = [
        f"{','.join(row.organs)} {row.eqd2_gy:g} {row.alpha_beta_gy:g} {row.volume_ml:g} {row.from_months:g} "
        f"{row.with_recovery} {row.source.split()[0]} {row.basis} {row.certainty}"
        for row in shipped.reirradiation.limits
    ]
    assert found == [" ".join(line.split()) for line in SHIPPED.strip().splitlines()]
    cord = shipped.reirradiation.limits[0]
    assert (cord.new_eqd2_gy, cord.new_part) == (25.0, 0.5)
    near = shipped.reirradiation.near
    assert (near.isodose_part, near.distance_mm, near.basis) == (0.5, 20.0, "project-derived")


def test_shipped_recovery_is_a_convention_and_off(shipped: Protocol) -> None:
    assert shipped.reirradiation is not None
    rows = [(row.from_months, row.part, row.certainty) for row in shipped.reirradiation.recovery]
    assert rows == [(0.0, 0.0, "L"), (6.0, 0.25, "L"), (12.0, 0.5, "L")]
    assert not shipped.reirradiation.recovery_on
    assert shipped.reirradiation.recovered_part("Rectum", 60.0) == 0.0


@pytest.mark.parametrize(
    ("organ", "months", "eqd2_gy"),
    [
        ("Rectum", 1.9, None),
        ("Rectum", 2.0, 80.0),
        ("Rectum", 11.9, 80.0),
        ("Rectum", 12.0, 100.0),
        ("SpinalCord", 12.0, 80.0),
        ("Bladder", 12.0, None),
    ],
)
def test_the_limit_of_the_longest_interval_that_has_passed_holds(
    organ: str, months: float, eqd2_gy: float | None
) -> None:
    limit = table().limit_for(organ, months)
    assert (limit.eqd2_gy if limit else None) == eqd2_gy


@pytest.mark.parametrize(
    ("organ", "months", "part"),
    [
        ("Bladder", 5.9, 0.0),
        ("Bladder", 6.0, 0.25),
        ("Bladder", 12.0, 0.5),
        ("Rectum", 11.9, 0.25),
        # The limit of that interval presumes recovery: counted twice it would be none.
        ("Rectum", 12.0, 0.0),
        ("SpinalCord", 60.0, 0.0),
    ],
)
def test_recovery_that_a_clinic_put_on(organ: str, months: float, part: float) -> None:
    assert table().recovered_part(organ, months) == part


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("from_months = 12.0\nwith", "from_months = 2.0\nwith", "two cumulative limits for Rectum at one interval"),
        ("part = 0.5\nsource", "part = 0.1\nsource", "recovery by rising interval never falls"),
        ("from_months = 6.0", "from_months = 13.0", "recovery by rising interval never falls"),
        ("from_months = 2.0", "from_months = 2.0\nnew_eqd2_gy = 81.0", "the new course may be more than all courses"),
        ("eqd2_gy = 80.0", "eqd2_gy = 8000.0", "less than or equal to 300"),
        ("from_months = 2.0", "from_months = 730.0", "less than or equal to 600"),
        ("part = 0.25", "part = 25.0", "less than or equal to 1"),
        ("recovery_on = true", "recovered = true", "unknown key recovered"),
    ],
)
def test_rows_that_cannot_be_meant_are_refused(old: str, new: str, says: str) -> None:
    # `part = 0.5` stands first in `isodose_part`; the row of recovery is told by what follows it.
    with pytest.raises(ProtocolError, match=says):
        table(old, new)


def test_without_the_table_a_protocol_says_nothing_of_it(changed: Callable[..., Protocol]) -> None:
    assert changed("max = 5", "max = 6").reirradiation is None

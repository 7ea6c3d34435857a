"""The table of C-STORE statuses."""

from __future__ import annotations

import pytest
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from dicom_nodes import statuses
from dicom_nodes.statuses import Meaning, Next, find

EXPECTED = [
    (0x0000, Meaning.SUCCESS, Next.DONE),
    (0x0110, Meaning.FAILURE, Next.RETRY),
    (0x0117, Meaning.FAILURE, Next.GIVE_UP),
    (0x0122, Meaning.FAILURE, Next.GIVE_UP),
    (0x0124, Meaning.FAILURE, Next.GIVE_UP),
    (0xA700, Meaning.FAILURE, Next.RETRY),
    (0xA7FF, Meaning.FAILURE, Next.RETRY),
    (0xA900, Meaning.FAILURE, Next.GIVE_UP),
    (0xA901, Meaning.FAILURE, Next.GIVE_UP),
    (0xA9FF, Meaning.FAILURE, Next.GIVE_UP),
    (0xB000, Meaning.WARNING, Next.LOOK),
    (0xB006, Meaning.WARNING, Next.LOOK),
    (0xB007, Meaning.WARNING, Next.LOOK),
    (0xBABE, Meaning.WARNING, Next.LOOK),
    (0xC000, Meaning.FAILURE, Next.GIVE_UP),
    (0xC211, Meaning.FAILURE, Next.GIVE_UP),
    (0xFE00, Meaning.FAILURE, Next.GIVE_UP),
    (0x0001, Meaning.FAILURE, Next.GIVE_UP),
]


@pytest.mark.parametrize(("code", "meaning", "then"), EXPECTED, ids=[f"{row[0]:04X}" for row in EXPECTED])
def test_each_status_says_what_it_means_and_what_to_do(code: int, meaning: Meaning, then: Next) -> None:
    assert (find(code).meaning, find(code).next) == (meaning, then)


def test_a_single_code_is_found_before_the_range_that_holds_it() -> None:
    assert find(0xB006) is statuses.DISCARDED
    assert find(0xB001) is statuses.OTHER_WARNING
    assert find(0xA901) is statuses.OTHER_BYTES
    assert find(0xA902) is statuses.MISMATCH


def test_every_code_of_two_bytes_has_a_row() -> None:
    assert all(find(code).code <= code <= find(code).last for code in range(0x10000))


def test_the_table_agrees_with_pynetdicom_about_the_standard() -> None:
    """pynetdicom's own table of PS3.4 annex B is the oracle."""
    words = {
        "Success": Meaning.SUCCESS,
        "Warning": Meaning.WARNING,
        "Failure": Meaning.FAILURE,
        "Cancel": Meaning.FAILURE,
    }
    for code, (category, _) in STORAGE_SERVICE_CLASS_STATUS.items():
        assert find(code).meaning is words[category], f"{code:04X}"


def test_what_the_node_returns_is_never_a_warning() -> None:
    returned = [row for row in statuses.TABLE if row.returned_when]
    assert [f"{row.code:04X}" for row in returned] == ["0000", "0110", "0117", "A700", "A901", "A900", "C000"]
    assert all(row.meaning is not Meaning.WARNING for row in returned)

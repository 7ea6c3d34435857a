"""Names in any alphabet: kept as they came, or written by the destination's rule, and never lost in silence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from psdt_planner.destination import CharacterSet
from psdt_planner.dicom.identity import spelled
from psdt_planner.dicom.pdf_out import write_pdf
from psdt_planner.dicom.registration_out import write_registration
from psdt_planner.dicom.rtstruct_out import write_rtstruct
from psdt_planner.dicom.rtstruct_read_back import read_back
from psdt_planner.errors import ConfigurationError
from psdt_planner.shapes import StructureSet
from psdt_planner.structures import shortened
from tests.dicom_out.scene import HEADERS, flags, read, structure_set
from tests.structures.scenes import STAMP, STILL, clone

NAMES = [
    ("ISO_IR 100", "Müller^Jörg"),
    ("ISO_IR 144", "Люкceмбypг"),
    ("ISO_IR 192", "山田^太郎"),
    (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (None, "Plain^Name"),
]


def as_sent(stated: str | list[str] | None, name: str) -> list[Dataset]:
    """The CT of a patient of that name, as it is read from its files."""
    headers = []
    for header in HEADERS:
        copy = clone(header)
        if stated is not None:
            copy.SpecificCharacterSet = stated
        copy.PatientName = name
        copy.file_meta = FileMetaDataset()
        copy.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
        copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
        buffer = BytesIO()
        dcmwrite(buffer, copy, enforce_file_format=True)
        headers.append(dcmread(BytesIO(buffer.getvalue())))
    return headers


def raw_name(dataset: Dataset) -> bytes:
    """PatientName as its bytes stand in the file; only before anybody has asked for its value."""
    element = dataset.get_item("PatientName")
    assert element is not None
    assert isinstance(element.value, bytes)
    return element.value.strip()


def described(words: str) -> StructureSet:
    made = structure_set()
    first = replace(made.rois[0], description=f"PROPOSAL. {words}. {flags()['L1'].tracking_uid}")
    return replace(made, rois=(first, *made.rois[1:]))


WRITERS: dict[str, Callable[[list[Dataset], CharacterSet], bytes]] = {
    "rtstruct": lambda ct, rule: write_rtstruct(structure_set(), ct, flags(), STAMP, character_set=rule),
    "registration": lambda ct, rule: write_registration(STILL, ct, (), STAMP, character_set=rule),
    "report": lambda ct, rule: write_pdf(b"%PDF-1.4", ct, "psdt PROPOSAL", STAMP, character_set=rule),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("stated", "name"), NAMES)
def test_kept_names_are_byte_identical_in_all_that_is_written(kind: str, stated: str | None, name: str) -> None:
    ct = as_sent(stated, name)
    sent = raw_name(ct[0])
    written = read(WRITERS[kind](ct, "keep"))
    assert raw_name(written) == sent
    assert written.get("SpecificCharacterSet") == ct[0].get("SpecificCharacterSet")
    assert str(written.PatientName) == name


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("stated", "name"), NAMES)
def test_a_forced_utf_8_tells_the_same_name(kind: str, stated: str | None, name: str) -> None:
    data = WRITERS[kind](as_sent(stated, name), "ISO_IR 192")
    assert read(data).SpecificCharacterSet == "ISO_IR 192"
    assert str(read(data).PatientName) == name
    assert name.encode() in data


@pytest.mark.parametrize("kind", WRITERS)
def test_a_forced_latin_1_that_cannot_write_the_name_is_refused_and_tells_no_name(kind: str) -> None:
    with pytest.raises(ConfigurationError, match="ISO_IR 100 cannot write PatientName") as raised:
        WRITERS[kind](as_sent("ISO_IR 192", "山田^太郎"), "ISO_IR 100")
    assert "山田" not in str(raised.value)
    latin = WRITERS[kind](as_sent("ISO_IR 192", "Müller^Jörg"), "ISO_IR 100")
    assert read(latin).SpecificCharacterSet == "ISO_IR 100"
    assert str(read(latin).PatientName) == "Müller^Jörg"
    assert "Müller^Jörg".encode("latin-1") in latin


def test_our_own_words_are_spelled_by_number_where_a_forced_set_lacks_them() -> None:
    made, ct = described("Очаг, côté gauche"), as_sent("ISO_IR 100", "Müller^Jörg")
    data = write_rtstruct(made, ct, flags(), STAMP, character_set="ISO_IR 100")
    words = read(data).StructureSetROISequence[0].ROIDescription
    assert "&#1054;&#1095;&#1072;&#1075;, côté gauche" in words
    read_back(data, made, ct, flags())


def test_our_own_words_make_a_kept_set_utf_8_where_it_lacks_them() -> None:
    made, ct = described("Очаг"), as_sent("ISO_IR 100", "Müller^Jörg")
    data = write_rtstruct(made, ct, flags(), STAMP)
    assert read(data).SpecificCharacterSet == "ISO_IR 192"
    assert "Очаг" in read(data).StructureSetROISequence[0].ROIDescription
    read_back(data, made, ct, flags())


@pytest.mark.parametrize("rule", ["keep", "ISO_IR 192"])
def test_words_that_grow_past_the_attribute_are_cut_where_a_reader_sees_it(rule: CharacterSet) -> None:
    made, ct = described("word " * 300), as_sent(None, "Plain^Name")
    made = replace(
        made, rois=(replace(made.rois[0], description=flags()["L1"].tracking_uid + "x" * 2000), *made.rois[1:])
    )
    data = write_rtstruct(made, ct, flags(), STAMP, character_set=rule)
    words = read(data).StructureSetROISequence[0].ROIDescription
    assert len(words) == 1024
    assert words.endswith("x [...]")
    read_back(data, made, ct, flags())


def test_spelling_and_cutting_by_themselves() -> None:
    dataset = Dataset()
    assert spelled("plain", dataset, 99) == "plain"
    assert spelled("é", dataset, 99) == "&#233;", "without a character set there is ASCII alone"
    dataset.SpecificCharacterSet = "ISO_IR 100"
    assert spelled("é о", dataset, 99) == "é &#1086;"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    assert spelled("é о", dataset, 99) == "é о"
    assert shortened("a" * 10, 10) == "a" * 10
    assert shortened("a" * 11, 10) == "aaaa [...]"
    assert np.all([len(shortened("b" * n, 10)) <= 10 for n in range(30)])

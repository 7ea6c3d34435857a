"""What one object says about where it belongs, read as it came in."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from fixtures.patient import PatientSpec, write_patient
from psdt_planner.case import Facts, keyed_hash
from psdt_planner.dicom.facts import read_facts
from tests.nodes.objects import make, uid, write

SALT = b"salt"


def holding(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def facts_of(ds: Dataset, folder: Path) -> Facts:
    return read_facts(write(ds, folder), SALT)


def test_an_image_tells_kind_b_value_day_frame_and_patient(tmp_path: Path) -> None:
    assert facts_of(make("MR", 2), tmp_path) == Facts(
        kind="dwi",
        b_values_s_per_mm2=(900.0,),
        day=date(2024, 2, 29).toordinal(),
        frames=(uid(1, 53),),
        name=keyed_hash(SALT, "PLANTED", "NAME"),
        born=keyed_hash(SALT, "19500101"),
    )


def test_hashes_need_the_salt_and_no_value_stands_in_the_facts(tmp_path: Path) -> None:
    path = write(make("CT", 1), tmp_path)
    one, other = read_facts(path, SALT), read_facts(path, b"other")
    assert one.name != other.name
    assert one.born != other.born
    assert not any(planted in repr(one) for planted in ("Planted", "PLANTED", "4711", "19500101"))


@pytest.mark.parametrize("name", ["planted^name", "Planted^Name^^Dr", "Planted^Name^Middle", "PLANTED ^NAME="])
def test_the_same_name_in_other_dress_is_the_same(tmp_path: Path, name: str) -> None:
    ds = make("CT", 1)
    ds.PatientName = name
    assert facts_of(ds, tmp_path).name == keyed_hash(SALT, "PLANTED", "NAME")


def test_references_by_kind_of_object(tmp_path: Path) -> None:
    seg = make("SEG", 1)
    seg.FrameOfReferenceUID = "1.2.77"
    seg.ReferencedSeriesSequence = Sequence([holding(SeriesInstanceUID="1.2.3"), holding(SeriesInstanceUID="1.2.4")])
    found = facts_of(seg, tmp_path)
    assert (found.kind, found.series, found.frames) == ("seg", ("1.2.3", "1.2.4"), ("1.2.77",))

    rtstruct = make("RTSTRUCT", 1)
    on_series = holding(SeriesInstanceUID="1.2.5")
    study = holding(RTReferencedSeriesSequence=Sequence([on_series]))
    frame = holding(FrameOfReferenceUID="1.2.78", RTReferencedStudySequence=Sequence([study]))
    rtstruct.ReferencedFrameOfReferenceSequence = Sequence([frame])
    found = facts_of(rtstruct, tmp_path)
    assert (found.kind, found.series, found.frames) == ("rtstruct", ("1.2.5",), ("1.2.78",))

    registration = make("REG", 1)
    ties = Sequence([holding(FrameOfReferenceUID="1.2.79"), holding(FrameOfReferenceUID="1.2.80")])
    registration.RegistrationSequence = ties
    found = facts_of(registration, tmp_path)
    assert (found.kind, found.series, found.frames) == ("registration", (), ("1.2.79", "1.2.80"))

    dose = make("DOC", 1)
    dose.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.2"
    dose.ReferencedRTPlanSequence = Sequence([holding(ReferencedSOPInstanceUID="1.2.81")])
    found = facts_of(dose, tmp_path)
    assert (found.kind, found.objects) == ("rtdose", ("1.2.81",))


class TestCoercion:
    def coerced(self, **before: str) -> Dataset:
        ds = make("CT", 1)
        original = holding(ModifiedAttributesSequence=Sequence([holding(**before)]))
        ds.OriginalAttributesSequence = Sequence([original])
        return ds

    def test_another_identity_before_is_told(self, tmp_path: Path) -> None:
        found = facts_of(self.coerced(PatientID="OLD-1", StudyDescription="x"), tmp_path)
        assert found.was == keyed_hash(SALT, "PatientID=OLD-1") != ""

    @pytest.mark.parametrize("before", [{"PatientID": "PLANTED-4711"}, {"StudyDescription": "x"}, {}])
    def test_what_left_the_identity_as_it_was_is_none(self, tmp_path: Path, before: dict[str, str]) -> None:
        assert facts_of(self.coerced(**before), tmp_path).was == ""


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_what_cannot_be_read_is_other_and_no_more(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.dcm"
    path.write_bytes(content)
    assert read_facts(path, SALT) == Facts("other")


def test_a_synthetic_patient_is_told_apart(tmp_path: Path) -> None:
    """The fixtures know nothing of psdt: CT, DWI by b-value, T1 and flags that refer to the MR."""
    write_patient(PatientSpec(seed=4, region="pelvis", size="tiny", lesions=2), tmp_path)
    found = [read_facts(path, SALT) for path in sorted(tmp_path.rglob("*.dcm"))]
    assert Counter(facts.kind for facts in found) == Counter(
        {"ct": 50, "dwi-trace": 150, "adc": 75, "dixon-in": 75, "dixon-fat": 75, "seg": 1, "rtstruct": 1}
    )
    assert {facts.b_values_s_per_mm2 for facts in found if facts.kind == "dwi-trace"} == {(50.0,), (900.0,)}
    assert len({facts.name for facts in found}) == len({facts.born for facts in found}) == 1
    (flags,) = [facts for facts in found if facts.kind == "seg"]
    assert flags.series
    assert {flags.frames} == {facts.frames for facts in found if facts.kind == "dwi-trace"}

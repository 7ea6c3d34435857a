"""Typed getters: what is there comes back with its type, what is not raises with keyword and instance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from psdt_planner.dicom import attributes
from psdt_planner.errors import MissingAttributeError, UnsupportedError
from tests.dicom_in.objects import ct_images, item


@pytest.fixture
def image() -> Dataset:
    return ct_images()[0]


def test_texts_come_without_padding_and_joined(image: Dataset) -> None:
    image.SeriesDescription = " Planning CT "
    assert attributes.text(image, "SeriesDescription") == "Planning CT"
    assert attributes.text(image, "ImageType") == "ORIGINAL\\PRIMARY\\AXIAL"
    assert attributes.words(image, "ImageType") == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert attributes.words(image, "ScanOptions") == ()
    assert attributes.text_or_empty(image, "ScanOptions") == ""


def test_numbers_come_as_an_array_of_the_size_asked_for(image: Dataset) -> None:
    assert attributes.numbers(image, "PixelSpacing", 2).tolist() == [1.3, 0.8]
    assert attributes.number(image, "SliceThickness") == 2.5
    assert attributes.integer(image, "Rows") == 9


@pytest.mark.parametrize(
    "ask",
    [
        lambda ds: attributes.text(ds, "FrameOfReferenceUID"),
        lambda ds: attributes.value(ds, "FrameOfReferenceUID"),
        lambda ds: attributes.number(ds, "SliceLocation"),
        lambda ds: attributes.items(ds, "SegmentSequence"),
        lambda ds: attributes.numbers(ds, "PixelSpacing", 3),
    ],
)
@pytest.mark.parametrize("empty", [True, False])
def test_what_is_missing_or_empty_names_keyword_and_instance(image: Dataset, ask: Any, empty: bool) -> None:
    if empty:
        image.FrameOfReferenceUID, image.SliceLocation, image.SegmentSequence = "", None, []
    else:
        del image.FrameOfReferenceUID
    with pytest.raises(MissingAttributeError, match=r"(UID|Location|Sequence|Spacing) ") as caught:
        ask(image)
    assert str(image.SOPInstanceUID) in str(caught.value)


def test_a_place_may_be_given_for_the_item_of_a_sequence() -> None:
    with pytest.raises(MissingAttributeError) as caught:
        attributes.number(item(), "ROINumber", where="SOP Instance UID 1.2.3")
    assert caught.value.where == "SOP Instance UID 1.2.3"
    assert attributes.where_of(item()) == ""


def raw(keyword_tag: int, vr: str, value: bytes) -> Dataset:
    ds = Dataset()
    ds._dict[Tag(keyword_tag)] = RawDataElement(Tag(keyword_tag), vr, len(value), value, 0, False, True)
    return ds


@pytest.mark.parametrize(
    ("ds", "ask"),
    [
        (raw(0x00180050, "DS", b"thick"), lambda ds: attributes.number(ds, "SliceThickness")),
        (raw(0x00180050, "DS", b"nan "), lambda ds: attributes.number(ds, "SliceThickness")),
        (raw(0x00280010, "US", b"\x01"), lambda ds: attributes.integer(ds, "Rows")),
        (raw(0x00180050, "DS", b"2.5 "), lambda ds: attributes.integer(ds, "SliceThickness")),
        (raw(0x0008103E, "LO", b"words"), lambda ds: attributes.number(ds, "SeriesDescription")),
        (raw(0x0008103E, "LO", b"words"), lambda ds: attributes.items(ds, "SeriesDescription")),
    ],
)
def test_bytes_that_are_not_what_they_claim_are_unsupported(ds: Dataset, ask: Any) -> None:
    with pytest.raises(UnsupportedError):
        ask(ds)


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("values", [[9], [0, 128, 65535]])
def test_whole_numbers_are_read_from_their_bytes_as_pydicom_decodes_them(little: bool, values: list[int]) -> None:
    tag, data = Tag("AcquisitionMatrix"), b"".join(one.to_bytes(2, "little" if little else "big") for one in values)
    ds = Dataset()
    ds._dict[tag] = RawDataElement(tag, "US", len(data), data, 0, False, little)
    assert attributes.numbers(ds, "AcquisitionMatrix", len(values)).tolist() == values
    assert attributes.text(ds, "AcquisitionMatrix") == "\\".join(map(str, values))
    assert isinstance(ds.get_item(tag), RawDataElement)
    assert np.atleast_1d(ds[tag].value).tolist() == values


def test_has_asks_for_a_value_that_can_be_decoded(image: Dataset) -> None:
    assert attributes.has(image, "Rows")
    assert not attributes.has(image, "SegmentSequence")
    assert not attributes.has(raw(0x00280010, "US", b"\x01"), "Rows")


def test_items_may_be_absent_where_that_is_asked_for(image: Dataset) -> None:
    assert attributes.items_if_any(image, "SegmentSequence") == ()
    image.SegmentSequence = [item(SegmentNumber=1)]
    assert [one.SegmentNumber for one in attributes.items_if_any(image, "SegmentSequence")] == [1]

"""The proposal as an Encapsulated PDF: what a person reads where nobody installed psdt."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.uid import EncapsulatedPDFStorage

from psdt_planner.destination import CharacterSet
from psdt_planner.dicom import attributes, identity
from psdt_planner.dicom.identity import Stamp
from psdt_planner.errors import FaultError, ReadBackError

SERIES_NUMBER = 903

LONGEST_TITLE = 1024
"""DocumentTitle (ST)."""


def write_pdf(
    pdf: bytes, ct_headers: Sequence[Dataset], title: str, stamp: Stamp, *, character_set: CharacterSet = "keep"
) -> bytes:
    """The document as a file in the planning CT's study, UNVERIFIED, read back before it is returned.

    Args:
        pdf: the document.
        ct_headers: the planning CT's images; the document says that it derives from them.
        title: DocumentTitle; says PROPOSAL.
        stamp: date, time and UIDs.
        character_set: the destination's rule.

    Raises:
        MissingAttributeError, InputError, GeometryError: the CT's images are of several series or lack UIDs.
        FaultError: bytes that are no PDF, or a title that does not say PROPOSAL.
        ReadBackError: the bytes do not hold the document.
    """
    if not pdf.startswith(b"%PDF-"):
        raise FaultError("the document is no PDF")
    if "PROPOSAL" not in title:
        raise FaultError(f"the title {title!r} does not say PROPOSAL")
    ct = identity.one_series(ct_headers)
    dataset = identity.begun(EncapsulatedPDFStorage, ct, character_set, (title,))
    description = "psdt PROPOSAL report"
    identity.describe_series(dataset, stamp, modality="DOC", number=SERIES_NUMBER, description=description)
    dataset.ConversionType = "WSD"
    dataset.InstanceNumber = "1"
    dataset.ContentDate, dataset.ContentTime = stamp.date, stamp.time
    dataset.AcquisitionDateTime = None
    dataset.BurnedInAnnotation = "YES"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = [identity.reference(header) for header in ct_headers]
    dataset.DocumentTitle = identity.spelled(title, dataset, LONGEST_TITLE)
    dataset.ConceptNameCodeSequence = []
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocumentLength = len(pdf)
    dataset.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    data = identity.sealed(dataset, stamp, "proposal")
    if document_of(data) != pdf:
        raise ReadBackError("the encapsulated document reads back otherwise", where=attributes.where_of(dataset))
    return data


def document_of(data: bytes) -> bytes:
    """The document in an Encapsulated PDF that states its length.

    Raises:
        MissingAttributeError: no document, or no length.
    """
    dataset = dcmread(BytesIO(data))
    document = attributes.value(dataset, "EncapsulatedDocument")
    return bytes(document[: attributes.integer(dataset, "EncapsulatedDocumentLength")])

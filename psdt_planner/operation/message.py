"""Audit messages of DICOM PS3.15 A.5 as XML.

A message names the patient by the ID that table A.5.3.7 and its sisters demand (M), and by nothing else: names are
optional there (U) and left out.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from xml.etree import ElementTree as ET


class Outcome(IntEnum):
    """EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8


@dataclass(frozen=True)
class Code:
    """A coded word; the attributes are those of the schema."""

    value: str
    meaning: str
    system: str = "DCM"


APPLICATION_ACTIVITY = Code("110100", "Application Activity")
APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
DATA_EXPORT = Code("110106", "Export")
DATA_IMPORT = Code("110107", "Import")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
PROCEDURE_RECORD = Code("110111", "Procedure Record")
SECURITY_ALERT = Code("110113", "Security Alert")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")

APPLICATION = Code("110150", "Application")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
DESTINATION_MEDIA = Code("110154", "Destination Media")
SOURCE_MEDIA = Code("110155", "Source Media")

STUDY_UID = Code("110180", "Study Instance UID")
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
NODE_ID = Code("110182", "Node ID")
CASE = Code("case", "psdt case", "99PSDT")


@dataclass(frozen=True)
class Participant:
    """Who took part.

    Attributes:
        user: AE title, process or person.
        requestor: whether it began the event.
        address: IP address or host; empty where it has none.
    """

    user: str
    requestor: bool
    role: Code | None = None
    address: str = ""
    alternative: str = ""


@dataclass(frozen=True)
class Object:
    """What the event was about.

    Attributes:
        type_code, role_code: ParticipantObjectTypeCode (1 person, 2 system object) and its role (1 patient, 3 report,
            20 job).
        classes: number of instances by SOP class.
        detail: values by their type; written in base 64 as the schema has it.
    """

    id: str
    id_type: Code
    type_code: str
    role_code: str
    classes: Mapping[str, int] = field(default_factory=dict)
    detail: Mapping[str, str] = field(default_factory=dict)


def patient(patient_id: str) -> Object:
    """A patient, by ID alone."""
    return Object(patient_id, PATIENT_NUMBER, "1", "1")


def study(uid: str, classes: Mapping[str, int] | None = None) -> Object:
    """A study, with the number of its instances by SOP class."""
    return Object(uid, STUDY_UID, "2", "3", classes or {})


def case(identifier: str) -> Object:
    """A case of the casebook."""
    return Object(identifier, CASE, "2", "20")


@dataclass(frozen=True)
class Message:
    """One event to be audited.

    Attributes:
        action: C create, R read, U update, D delete, E execute.
        at_s: POSIX time.
        source: what wrote the message (AuditSourceID).
    """

    event: Code
    action: str
    at_s: float
    source: str
    participants: Sequence[Participant]
    objects: Sequence[Object] = ()
    outcome: Outcome = Outcome.SUCCESS
    types: Sequence[Code] = ()
    described: str = ""

    def xml(self) -> bytes:
        """The message in UTF-8, on one line."""
        root = ET.Element("AuditMessage")
        at = datetime.fromtimestamp(self.at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        attributes = {
            "EventActionCode": self.action,
            "EventDateTime": at,
            "EventOutcomeIndicator": str(int(self.outcome)),
        }
        event = ET.SubElement(root, "EventIdentification", attributes)
        _coded(event, "EventID", self.event)
        for code in self.types:
            _coded(event, "EventTypeCode", code)
        if self.described:
            ET.SubElement(event, "EventOutcomeDescription").text = self.described
        for participant in self.participants:
            _participant(root, participant)
        source = ET.SubElement(root, "AuditSourceIdentification", {"AuditSourceID": self.source})
        ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})  # an application server process
        for one in self.objects:
            _object(root, one)
        text: str = ET.tostring(root, encoding="unicode")
        return b'<?xml version="1.0" encoding="UTF-8"?>' + text.replace("\n", " ").encode()


def _coded(parent: ET.Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning}
    ET.SubElement(parent, name, attributes)


def _participant(root: ET.Element, one: Participant) -> None:
    attributes = {"UserID": one.user}
    if one.alternative:
        attributes["AlternativeUserID"] = one.alternative
    attributes["UserIsRequestor"] = str(one.requestor).lower()
    if one.address:
        numeric = one.address.replace(".", "").isdigit() or ":" in one.address
        attributes |= {
            "NetworkAccessPointID": one.address,
            "NetworkAccessPointTypeCode": "2" if numeric else "1",  # IP address, or name of a machine
        }
    element = ET.SubElement(root, "ActiveParticipant", attributes)
    if one.role is not None:
        _coded(element, "RoleIDCode", one.role)


def _object(root: ET.Element, one: Object) -> None:
    attributes = {
        "ParticipantObjectID": one.id,
        "ParticipantObjectTypeCode": one.type_code,
        "ParticipantObjectTypeCodeRole": one.role_code,
    }
    element = ET.SubElement(root, "ParticipantObjectIdentification", attributes)
    _coded(element, "ParticipantObjectIDTypeCode", one.id_type)
    for kind, value in sorted(one.detail.items()):
        encoded = base64.b64encode(value.encode()).decode()
        ET.SubElement(element, "ParticipantObjectDetail", {"type": kind, "value": encoded})
    for uid, count in sorted(one.classes.items()):
        ET.SubElement(element, "SOPClass", {"UID": uid, "NumberOfInstances": str(count)})

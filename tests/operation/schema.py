"""The structure of DICOM audit messages (PS3.15 A.5.1), written down apart from the code that makes them.

Each element: the attributes that must and may be there, and its children in their order with how often they may come.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

CODED = ({"csd-code", "codeSystemName", "originalText"}, {"displayName"}, [])

ELEMENTS = {
    "AuditMessage": (
        set(),
        set(),
        [
            ("EventIdentification", 1, 1),
            ("ActiveParticipant", 1, 99),
            ("AuditSourceIdentification", 1, 1),
            ("ParticipantObjectIdentification", 0, 99),
        ],
    ),
    "EventIdentification": (
        {"EventActionCode", "EventDateTime", "EventOutcomeIndicator"},
        set(),
        [("EventID", 1, 1), ("EventTypeCode", 0, 99), ("EventOutcomeDescription", 0, 1)],
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": (set(), set(), []),
    "ActiveParticipant": (
        {"UserID", "UserIsRequestor"},
        {"AlternativeUserID", "UserName", "NetworkAccessPointID", "NetworkAccessPointTypeCode"},
        [("RoleIDCode", 0, 99)],
    ),
    "RoleIDCode": CODED,
    "AuditSourceIdentification": ({"AuditSourceID"}, {"AuditEnterpriseSiteID"}, [("AuditSourceTypeCode", 0, 99)]),
    "AuditSourceTypeCode": ({"csd-code"}, {"codeSystemName", "originalText"}, []),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID", "ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"},
        {"ParticipantObjectDataLifeCycle", "ParticipantObjectSensitivity"},
        [
            ("ParticipantObjectIDTypeCode", 1, 1),
            ("ParticipantObjectName", 0, 1),
            ("ParticipantObjectDetail", 0, 99),
            ("SOPClass", 0, 99),
        ],
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectDetail": ({"type", "value"}, set(), []),
    "SOPClass": ({"NumberOfInstances"}, {"UID"}, []),
}

VALUES = {
    "EventActionCode": "CRUDE",
    "EventOutcomeIndicator": {"0", "4", "8", "12"},
    "UserIsRequestor": {"true", "false"},
    "NetworkAccessPointTypeCode": "12345",
    "ParticipantObjectTypeCode": "1234",
}


def validated(xml: bytes) -> ET.Element:
    """The message, where it has the structure of the standard; an ``AssertionError`` that names the place elsewhere."""
    root = ET.fromstring(xml)  # noqa: S314  (our own)
    assert root.tag == "AuditMessage"
    _check(root)
    return root


def _check(element: ET.Element) -> None:
    must, may, children = ELEMENTS[element.tag]
    assert must <= set(element.attrib) <= must | may, f"{element.tag}: {sorted(element.attrib)}"
    for name, value in element.attrib.items():
        assert value, f"{element.tag} {name} is empty"
        if name in VALUES:
            assert value in VALUES[name], f"{element.tag} {name} = {value}"
    order = [name for name, _, _ in children]
    found = [child.tag for child in element]
    assert set(found) <= set(order), f"{element.tag} holds {found}"
    assert found == sorted(found, key=order.index), f"{element.tag}: {found} is out of order"
    for name, least, most in children:
        assert least <= found.count(name) <= most, f"{element.tag}: {found.count(name)} {name}"
    for child in element:
        _check(child)

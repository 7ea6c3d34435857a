"""Audit messages: in the structure of the standard, about everything that must be told, and with no name in them."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from dicom_nodes.config import Peer, WebPeer
from dicom_nodes.headers import read_file_header
from dicom_nodes.index import Index
from dicom_nodes.notices import Answered, Refused
from dicom_nodes.storage import Storage
from psdt_planner.case import Delivered, Discarded, Event, Held, Item, Received, Reopened, SendFailed, State
from psdt_planner.casebook import Casebook
from psdt_planner.errors import PeerError
from psdt_planner.operation import Auditor, Removal, start_message, stop_message
from psdt_planner.operation.audit import deletion, exported
from psdt_planner.operation.message import Message
from tests.cases.stories import RELEASED, STORIES, outputs
from tests.nodes.objects import PATIENT_ID, dataset_bytes, make, write
from tests.operation.schema import validated

ID = "7K3MQ-2ZDXW"
TPS = Peer(host="10.0.0.7", port=104, ae_title="TPS")


@dataclass
class Kept:
    """A sink that keeps what it is told, each message held against the standard's structure."""

    messages: list[ET.Element] = field(default_factory=list)
    away: bool = False

    def __call__(self, message: Message) -> None:
        if self.away:
            raise PeerError("away")
        xml = message.xml()
        assert b"\n" not in xml
        assert b"Planted" not in xml
        self.messages.append(validated(xml))

    def told(self) -> list[tuple[str, str, str]]:
        """Event, action and outcome of each message."""
        found = []
        for message in self.messages:
            event = message.find("EventIdentification")
            code = message.find("EventIdentification/EventID")
            assert event is not None
            assert code is not None
            found.append(
                (code.attrib["csd-code"], event.attrib["EventActionCode"], event.attrib["EventOutcomeIndicator"])
            )
        return found


@pytest.fixture
def sink() -> Kept:
    return Kept()


@pytest.fixture
def casebook(tmp_path: Path) -> Iterator[Casebook]:
    casebook = Casebook(f"sqlite:///{tmp_path}/casebook.db")
    yield casebook
    casebook.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    index = Index(f"sqlite:///{tmp_path}/index.db")
    yield index
    index.close()


@pytest.fixture
def auditor(sink: Kept, casebook: Casebook, index: Index) -> Auditor:
    return Auditor(sink, casebook, index, "PSDT", TPS)


def ids(message: ET.Element) -> dict[str, str]:
    """The objects of a message by the meaning of their id's code."""
    found = {}
    for one in message.iter("ParticipantObjectIdentification"):
        code = one.find("ParticipantObjectIDTypeCode")
        assert code is not None
        found[code.attrib["originalText"]] = one.attrib["ParticipantObjectID"]
    return found


def users(message: ET.Element) -> list[str]:
    return [one.attrib["UserID"] for one in message.iter("ActiveParticipant")]


def test_start_and_stop(sink: Kept) -> None:
    sink(start_message("PSDT", 1000.0))
    sink(stop_message("PSDT", 1001.0))
    assert sink.told() == [("110100", "E", "0")] * 2
    kinds = [one.attrib["csd-code"] for message in sink.messages for one in message.iter("EventTypeCode")]
    assert kinds == ["110120", "110121"]
    assert sink.messages[0][0].attrib["EventDateTime"] == "1970-01-01T00:16:40.000Z"


def test_what_came_in_is_one_message_for_each_sender_and_patient(sink: Kept, auditor: Auditor, tmp_path: Path) -> None:
    header = read_file_header(write(make("CT", 1), tmp_path))
    other = read_file_header(write(make("SEG", 1, patient_id="OTHER"), tmp_path / "other"))
    for _ in range(40):
        auditor.hear(Answered("SCANNER", "10.0.0.1", 0, header), 1000.0)
    auditor.hear(Answered("SCANNER", "10.0.0.1", 0xA901, other, quarantined=True), 1000.5)
    auditor.hear(Answered("SCANNER", "10.0.0.1", 0xC000, None), 1000.5)
    auditor.step(1001.0)
    assert sink.messages == [], "the transfer may go on"
    auditor.step(1003.0)
    assert sink.told() == [("110104", "C", "0"), ("110104", "C", "4")]
    first = sink.messages[0]
    assert ids(first) == {"Study Instance UID": header.study_instance_uid, "Patient Number": PATIENT_ID}
    assert [one.attrib for one in first.iter("SOPClass")] == [{"UID": header.sop_class_uid, "NumberOfInstances": "40"}]
    assert users(first) == ["SCANNER", "PSDT"]
    assert next(first.iter("ActiveParticipant")).attrib["NetworkAccessPointID"] == "10.0.0.1"


def test_who_was_not_let_in_is_an_alert(sink: Kept, auditor: Auditor) -> None:
    auditor.hear(Refused("STRANGER", "PSDT", "10.0.0.9", "association rejected"), 1000.0)
    auditor.hear(Refused("", "", "10.0.0.9", "TLS: no certificate"), 1000.0)
    auditor.step(1000.0)
    assert sink.told() == [("110113", "E", "4")] * 2
    assert [users(message)[1] for message in sink.messages] == ["STRANGER", "unknown"]
    details = [one.attrib["value"] for message in sink.messages for one in message.iter("ParticipantObjectDetail")]
    assert [base64.b64decode(text) for text in details] == [b"association rejected", b"TLS: no certificate"]


STORY: tuple[Event, ...] = (
    *RELEASED,
    SendFailed(1210.0, "away", 1220.0),
    Delivered(1220.0, outputs()[0].sop_instance_uid, ""),
    Held(1230.0, "B. Person", "stop"),
    Reopened(1240.0, "C. Person"),
    Discarded(1250.0, "D. Person", "treated elsewhere"),
)


def test_decisions_and_deliveries_are_read_from_the_casebook(sink: Kept, auditor: Auditor, casebook: Casebook) -> None:
    for event in STORY:
        casebook.append(ID, event)
    auditor.step(2000.0)
    assert sink.told() == [
        ("110111", "U", "0"),
        ("110104", "R", "8"),
        ("110104", "R", "0"),
        ("110111", "U", "0"),
        ("110111", "U", "0"),
        ("110111", "U", "0"),
    ]
    assert [users(message)[0] for message in sink.messages] == [
        "A. Person",
        "PSDT",
        "PSDT",
        "B. Person",
        "C. Person",
        "D. Person",
    ]
    assert ids(sink.messages[0]) == {"psdt case": ID, "Study Instance UID": "1.2"}
    assert users(sink.messages[1]) == ["PSDT", "TPS"]
    auditor.step(2001.0)
    assert len(sink.messages) == 6, "once"


def test_a_destination_over_dicomweb_is_named_by_its_url(sink: Kept, casebook: Casebook, index: Index) -> None:
    vna = WebPeer(url="https://vna.hospital/dicom-web")
    for event in STORY[: len(RELEASED) + 2]:
        casebook.append(ID, event)
    Auditor(sink, casebook, index, "PSDT", vna).step(2000.0)
    assert users(sink.messages[-1]) == ["PSDT", "https://vna.hospital/dicom-web"]


def test_a_sink_that_is_away_gets_all_of_it_when_it_is_back(
    sink: Kept, auditor: Auditor, casebook: Casebook, index: Index
) -> None:
    for event in STORY:
        casebook.append(ID, event)
    sink.away = True
    with pytest.raises(PeerError):
        auditor.step(2000.0)
    sink.away = False
    Auditor(sink, casebook, index, "PSDT", TPS).step(2001.0)  # another process
    assert len(sink.messages) == 6


def test_the_patient_of_a_case_is_named_by_the_id_that_the_index_knows(
    sink: Kept, auditor: Auditor, casebook: Casebook, index: Index, tmp_path: Path
) -> None:
    item = keep(tmp_path, index)
    casebook.append(ID, Received(1000.0, (item,)))
    casebook.append(ID, Held(1001.0, "A. Person", "x"))
    auditor.step(2000.0)
    assert ids(sink.messages[0])["Patient Number"] == PATIENT_ID


def keep(folder: Path, index: Index) -> Item:
    """One object in storage and index, as a case knows it."""
    path = write(make("CT", 1), folder)
    header, data = read_file_header(path), dataset_bytes(path)
    kept = Storage(folder / "storage").keep(header.sop_instance_uid, path.read_bytes()[132 : -len(data)], data)
    index.add(header, kept, 1000.0)
    first = next(item for event in STORIES[State.ASSEMBLING] if isinstance(event, Received) for item in event.items)
    uids = {"sop_instance_uid": header.sop_instance_uid, "study_instance_uid": header.study_instance_uid}
    return type(first)(**{**vars(first), **uids, "key": kept.key})


def test_removal_export_and_import(sink: Kept, index: Index, tmp_path: Path) -> None:
    item = keep(tmp_path, index)
    identifier, message = deletion("PSDT", 3000.0, Removal(ID, State.SENT, 0.0, (item,)), index)
    assert identifier == ID
    sink(message)
    sink(exported("PSDT", 3000.0, "/backup/casebook.db"))
    sink(exported("PSDT", 3000.0, "/backup/casebook.db", imported=True))
    assert sink.told() == [("110105", "D", "0"), ("110106", "R", "0"), ("110107", "C", "0")]
    assert ids(sink.messages[0]) == {
        "psdt case": ID,
        "Study Instance UID": item.study_instance_uid,
        "Patient Number": PATIENT_ID,
    }


def test_at_the_end_everything_is_told(
    sink: Kept, auditor: Auditor, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    header = read_file_header(write(make("CT", 1), tmp_path))
    stop = threading.Event()
    thread = threading.Thread(target=auditor.run, args=(stop, lambda: 1000.0, 0.01))
    thread.start()
    sink.away = True
    auditor.hear(Refused("STRANGER", "PSDT", "10.0.0.9", "x"), 1000.0)
    stop.wait(0.1)
    sink.away = False
    auditor.hear(Answered("SCANNER", "10.0.0.1", 0, header), 1000.0)
    stop.set()
    thread.join()
    assert [event for event, _, _ in sink.told()][-1] == "110104"
    assert PATIENT_ID not in "".join(capfd.readouterr()), "the log says that it failed, and nothing of what"

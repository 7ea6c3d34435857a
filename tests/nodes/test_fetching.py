"""Which series the rules want, and what is said of each that came or did not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.events import Event

from dicom_nodes.config import NodeConfig, Peer, WebPeer
from dicom_nodes.errors import PeerError
from dicom_nodes.fetching import Fetcher, FetchRule, Series, choose, search
from dicom_nodes.index import Index
from dicom_nodes.query import STUDY_ROOT_FIND
from dicom_nodes.retrieve import Counts
from dicom_nodes.sender import send
from tests.dcmqr import dcmqrscp
from tests.nodes.objects import PATIENT_ID, make, uid, write, write_set
from tests.orthanc import start_orthanc

TODAY = date(2026, 11, 30)
WHOLE_BODY = FetchRule(name="wb", modalities=("MR",), study=("whole.?body",), last=2, within_years=3)


def series(study: int, day: date | None, modality: str = "MR", what: str = "Whole Body MRI", number: int = 1) -> Series:
    return Series(f"1.{study}", f"1.{study}.{number}", day, modality, what, "T1 Dixon", 10)


def wanted(rule: FetchRule, *held: Series) -> list[str]:
    return [one.series_instance_uid for one in choose(held, [rule], TODAY)[rule.name]]


class TestChoosing:
    def test_the_last_two_whole_body_exams_within_three_years(self) -> None:
        held = (
            series(1, date(2022, 1, 1)),
            series(2, date(2024, 5, 1)),
            series(3, date(2025, 5, 1)),
            series(3, date(2025, 5, 1), number=2),
            series(4, date(2026, 5, 1)),
            series(5, date(2026, 6, 1), what="MRI prostate"),
            series(6, date(2026, 7, 1), modality="CT"),
        )
        assert wanted(WHOLE_BODY, *held) == ["1.4.1", "1.3.1", "1.3.2"]
        assert wanted(WHOLE_BODY, *held[::-1]) == ["1.4.1", "1.3.1", "1.3.2"], "in whatever order the archive says it"

    def test_the_edge_of_the_time(self) -> None:
        edge = TODAY - timedelta(days=3 * 365.25)
        assert wanted(WHOLE_BODY, series(1, edge), series(2, edge - timedelta(days=1))) == ["1.1.1"]

    def test_a_study_without_a_date_is_wanted_by_no_rule_that_asks_for_one(self) -> None:
        undated = series(1, None)
        assert wanted(WHOLE_BODY, undated) == []
        assert wanted(WHOLE_BODY.model_copy(update={"within_years": None}), undated) == []
        assert wanted(WHOLE_BODY.model_copy(update={"within_years": None, "last": None}), undated) == ["1.1.1"]

    @pytest.mark.parametrize("text", ["WHOLE BODY", "mri whole-body dwi", "Wholebody"])
    def test_descriptions_are_matched_anywhere_in_any_case(self, text: str) -> None:
        assert wanted(WHOLE_BODY, series(1, TODAY, what=text)) == ["1.1.1"]

    def test_the_series_may_decide(self) -> None:
        rule = FetchRule(name="dwi", modalities=("MR",), series=("dwi", "adc"))
        held = series(1, TODAY)
        assert wanted(rule, held, replace(held, series_instance_uid="1.9", series_description="ADC (mm2/s)")) == ["1.9"]

    def test_a_pattern_that_is_none_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="not a regular expression"):
            FetchRule(name="x", modalities=("MR",), study=("(",))

    @given(
        days=st.lists(st.integers(0, 3000), max_size=12),
        last=st.integers(1, 4),
        years=st.floats(0.1, 8),
    )
    def test_beside_a_slow_and_obvious_way(self, days: list[int], last: int, years: float) -> None:
        """Strike out the oldest study until no more than ``last`` are left."""
        held = [series(n, TODAY - timedelta(days=day)) for n, day in enumerate(days)]
        left = [one for one in held if one.study_date and one.study_date >= TODAY - timedelta(days=years * 365.25)]
        while len(left) > last:
            left.remove(min(left, key=lambda one: (one.study_date or date.min, one.study_instance_uid)))
        rule = FetchRule(name="x", modalities=("MR",), last=last, within_years=years)
        assert set(wanted(rule, *held)) == {one.series_instance_uid for one in left}


@contextmanager
def answering(study: Dataset) -> Iterator[Peer]:
    """An archive that answers every query with the same study."""
    entity = AE("SCRIPT")
    entity.add_supported_context(STUDY_ROOT_FIND)

    def on_find(_event: Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, study

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, on_find)])
    try:
        yield Peer(host="127.0.0.1", port=server.server_address[1], ae_title="SCRIPT", timeout_s=5)
    finally:
        entity.shutdown()


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [("PatientID", "SOMEBODY-ELSE", "another patient's study"), ("StudyInstanceUID", "", "without a StudyInstanceUID")],
)
def test_an_archive_that_answers_something_else_is_not_believed(keyword: str, value: str, message: str) -> None:
    """Some archives pass over keys that they do not know, and answer with all that they have."""
    study = Dataset()
    study.PatientID, study.StudyInstanceUID = PATIENT_ID, uid(1)
    setattr(study, keyword, value)
    with answering(study) as peer, pytest.raises(PeerError, match=message) as caught:
        search(peer, "PSDT", PATIENT_ID)
    assert "SOMEBODY" not in str(caught.value)


@pytest.mark.peer
def test_by_get_what_is_here_is_counted_and_what_is_not_is_said(
    tmp_path: Path, config: NodeConfig, index: Index
) -> None:
    told: list[tuple[str, Counts]] = []
    with dcmqrscp(tmp_path / "peer", 1) as port:
        peer = Peer(host="127.0.0.1", port=port, ae_title="QRSCP", timeout_s=10, retrieve="get")
        send(write_set(tmp_path / "in", slices=3), peer, "PSDT")
        held = search(peer, "PSDT", PATIENT_ID)
        assert sorted((one.modality, one.objects) for one in held) == [("CT", 3), ("MR", 3), ("SEG", 1)]
        assert {one.study_date for one in held} == {date(2024, 2, 29)}
        promised = [replace(one, objects=5) if one.modality == "MR" else one for one in held]
        fetcher = Fetcher(config, peer, index, lambda: 1.0)
        done = list(fetcher.fetch(promised, lambda one, counts: told.append((one.modality, counts))))
    short = {one.series.modality: one.short for one in done}
    assert (short["CT"], short["SEG"]) == ("", "")
    assert short["MR"].startswith("3 of 5 are here, though the archive says: 3 completed, 0 failed")
    assert index.count() == 7
    assert ("CT", 3) in {(modality, counts.completed) for modality, counts in told}


def test_an_archive_that_is_away_leaves_each_series_short(config: NodeConfig, index: Index) -> None:
    peer = Peer(host="127.0.0.1", port=1, ae_title="AWAY", timeout_s=1)
    held = (series(1, TODAY), series(2, TODAY))
    done = list(Fetcher(config, peer, index, lambda: 1.0).fetch(held, lambda _one, _counts: None))
    assert [one.held for one in done] == [0, 0]
    assert all("cannot be reached" in one.short and "0 of 10 are here" in one.short for one in done)


@pytest.mark.peer
def test_over_dicomweb(tmp_path: Path, config: NodeConfig, index: Index) -> None:
    with start_orthanc(tmp_path / "peer", dicomweb=True) as orthanc:
        dicom = Peer(host="127.0.0.1", port=orthanc.dicom_port, ae_title=orthanc.aet, timeout_s=10)
        send(write_set(tmp_path / "in", slices=3), dicom, "PSDT")
        send([write(make("CT", 1, patient_id="OTHER", study=2), tmp_path / "other")], dicom, "PSDT")
        peer = WebPeer(url=f"http://127.0.0.1:{orthanc.http_port}/dicom-web", timeout_s=10)
        held = search(peer, "PSDT", PATIENT_ID)
        assert sorted((one.modality, one.objects) for one in held) == [("CT", 3), ("MR", 3), ("SEG", 1)]
        fetcher = Fetcher(config, peer, index, lambda: 1.0)
        done = list(fetcher.fetch(held, lambda _one, _counts: None))
        assert [(one.held, one.short) for one in done] == [(one.objects, "") for one in held]
        again = list(fetcher.fetch(held, lambda _one, _counts: None))
    assert [one.short for one in again] == ["", "", ""], "the same bytes a second time are no trouble"
    assert index.count() == 7

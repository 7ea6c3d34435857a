"""kill -9 at each durable step, and at any moment, with senders and a releasing person at work."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.destination import Destination, destination
from benchmarks.soak.objects import dataset_bytes, write_patient
from benchmarks.soak.rows import Row, must_be, told
from benchmarks.soak.service import POINTS, configure, free_port, start, stop, wait_until
from dicom_nodes.config import Peer
from dicom_nodes.headers import read_file_header
from dicom_nodes.index import Index
from dicom_nodes.sender import send
from dicom_nodes.statuses import Meaning
from dicom_nodes.storage import Storage
from psdt_planner.case import Proposed, Released, State
from psdt_planner.casebook import Casebook
from psdt_planner.errors import CaseStateError
from psdt_planner.worker import Config, load_config, release, reopen

SERIES = (("CT", 4), ("MR", 4), ("SEG", 1))
SENDERS = 3
ROUND_S = 20.0
END_S = 300.0
ENDED = {State.SENT, State.DISCARDED}
ANY = "any moment"


@dataclass
class Sending:
    """The senders of all patients: what is acknowledged, and what has to be sent again."""

    node: Peer
    patients: int = 0
    pending: list[Path] = field(default_factory=list)
    under_way: int = 0
    safe: list[Path] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_done(self) -> bool:
        """Whether everything is acknowledged."""
        with self._lock:
            return not self.pending and not self.under_way

    def run(self, stop: threading.Event, name: str) -> None:
        """Send what is pending, three objects an association, until all is safe or ``stop`` is set."""
        while not stop.is_set():
            with self._lock:
                lot, self.pending = self.pending[:3], self.pending[3:]
                self.under_way += len(lot)
            if not lot:
                stop.wait(0.02)
                continue
            results = send(lot, self.node, name)
            with self._lock:
                self.under_way -= len(lot)
                for sent in results:
                    (self.safe if sent.meaning is Meaning.SUCCESS else self.pending).append(sent.path)
            if any(sent.meaning is not Meaning.SUCCESS for sent in results):
                stop.wait(0.1)


def be_a_person(stop: threading.Event, url: str) -> None:
    """Release what is proposed, failed or unconfirmed, and let begin again what is held by late objects."""
    book = Casebook(url)
    while not stop.wait(0.03):
        for case in book.cases():
            with contextlib.suppress(CaseStateError):
                if case.state in {State.PROPOSED, State.FAILED, State.UNCONFIRMED}:
                    release(book, case.id, "Soak^Person", time.time(), case.plan)
                elif case.state is State.HELD:
                    reopen(book, case.id, "Soak^Person", time.time())
    book.close()


def crash(folder: Path, rounds: int, seed: int = 1) -> list[Row]:
    """Kill the service once a round; the rows say what is there in the end."""
    choice, killed = random.Random(seed), Counter[str]()  # noqa: S311  (no secrets here)
    began = time.monotonic()
    with destination(refuses=0.05, silent=0.1) as tps:
        config = configure(folder, free_port(), tps.port, confirm="commitment")
        sending = Sending(Peer(host="127.0.0.1", port=config.node.port, ae_title="PSDT", timeout_s=1.5))
        book = Casebook(config.worker.casebook)
        turns = (*POINTS, ANY, ANY, ANY, ANY)
        for number in range(rounds):
            point = turns[number % len(turns)]
            files = write_patient(folder / "in" / str(number), number, SERIES)
            sending.patients += 1
            sending.pending += choice.sample(files, len(files))
            killed[_round(folder / "psdt.toml", sending, book, point, choice)] += 1
        ended = _until_all_has_ended(folder / "psdt.toml", sending, book)
        rows = [
            told("crash", "rounds, each with a kill -9", f"{rounds}"),
            *(told("crash", f"  killed: {point}", killed[point]) for point in (*POINTS, ANY)),
            Row("crash", "the end came", "yes" if ended else "no", "yes", ended),
            *_check(config, sending, book, tps, rounds * sum(count for _, count in SERIES)),
            told("crash", "seconds", time.monotonic() - began),
        ]
        book.close()
    return rows


def _round(config_file: Path, sending: Sending, book: Casebook, point: str, choice: random.Random) -> str:
    """One life of the service; where it died."""
    count = choice.randint(1, {"assembled": 1, "planned": 1, "committed": 1}.get(point, 3))
    moment_s = choice.uniform(0.05, 1.5) if point == ANY else ROUND_S
    url = load_config(config_file).worker.casebook
    process = start(config_file, "" if point == ANY else point, count)
    with AtWork(sending, url):
        end = time.monotonic() + moment_s
        while process.is_alive() and time.monotonic() < end:
            if point != ANY and sending.is_done and _all_ended(book, sending.patients):
                break  # there is nothing left that could lead to the point
            time.sleep(0.01)
        died = not process.is_alive()
        process.kill()
        process.join(10)
    return point if died or point == ANY else ANY


def _until_all_has_ended(config_file: Path, sending: Sending, book: Casebook) -> bool:
    url = load_config(config_file).worker.casebook
    process = start(config_file)
    with AtWork(sending, url):
        ended = wait_until(lambda: sending.is_done and _all_ended(book, sending.patients), END_S)
    stop(process)
    return ended


class AtWork:
    """Senders and the person, meanwhile."""

    def __init__(self, sending: Sending, url: str) -> None:
        self._stop = threading.Event()
        self._threads = [
            *(threading.Thread(target=sending.run, args=(self._stop, f"SENDER{n}")) for n in range(SENDERS)),
            threading.Thread(target=be_a_person, args=(self._stop, url)),
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def _check(config: Config, sending: Sending, book: Casebook, tps: Destination, objects: int) -> Iterator[Row]:
    """What must hold in the end, from the bytes on disk, the events in the casebook, and what the destination got."""
    released, made = _released(book)
    yield must_be("crash", "objects acknowledged with Success", len(sending.safe), objects)
    yield must_be("crash", "of these, there with their bytes", count_there(config, sending.safe), objects)
    cases = book.cases()
    yield must_be("crash", "cases", len(cases), objects // sum(count for _, count in SERIES))
    yield must_be("crash", "cases that did not end", sum(case.state not in ENDED for case in cases), 0)
    yield must_be("crash", "objects sent without a release", len(tps.times.keys() - released), 0)
    yield must_be("crash", "things sent under two UIDs", sum(len(uids) > 1 for uids in tps.uids.values()), 0)
    yield must_be("crash", "UIDs sent with two contents", sum(len(one) > 1 for one in tps.contents.values()), 0)
    lacking = {output.sop_instance_uid for case in cases for output in case.outputs} - tps.times.keys()
    yield must_be("crash", "outputs of ended cases that the destination lacks", len(lacking), 0)
    yield told("crash", "plans made", made)
    yield told("crash", "outputs at the destination", len(tps.times))
    yield told("crash", "sent again, same UID and bytes", sum(times - 1 for times in tps.times.values()))


def count_there(config: Config, files: Sequence[Path]) -> int:
    """How many files are in the index, with their bytes in the storage."""
    index, storage, there = Index(config.node.index), Storage(config.node.storage), 0
    for file in files:
        change = index.find(read_file_header(file).sop_instance_uid)
        there += change is not None and dataset_bytes(storage.path(change.key)) == dataset_bytes(file)
    index.close()
    return there


def _released(book: Casebook) -> tuple[set[str], int]:
    """UIDs of all outputs that a person ever released, read from the events; and how many plans there were."""
    cleared, plans, proposed = set[str](), 0, dict[tuple[str, int], set[str]]()
    number = 0
    while recorded := book.since(number):
        for one in recorded:
            if isinstance(one.event, Proposed):
                plans += 1
                proposed[one.case_id, one.event.plan] = {output.sop_instance_uid for output in one.event.outputs}
            elif isinstance(one.event, Released):
                cleared |= proposed[one.case_id, one.event.plan]
        number = recorded[-1].number
    return cleared, plans


def _all_ended(book: Casebook, count: int) -> bool:
    cases = book.cases()
    return len(cases) == count and all(case.state in ENDED for case in cases)

"""What psdt must do with a corpus of malformed files, in a short form for the suite and at full length for the soak.

Given to the node over the network, each file ends in a status, and the node still answers; given to ``psdt plan``, it
ends in a finding or is read. Nothing else is touched.
"""

from __future__ import annotations

import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dicom_nodes import statuses
from dicom_nodes.config import Peer
from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.query import echo
from dicom_nodes.storage import Storage
from fixtures.malformed import Malformed, corpus, split
from psdt_planner.dicom.intake import read_inputs
from tests.dicom_in.packs import BESIDE
from tests.network import wait_until
from tests.nodes.objects import begun, make, uid, write
from tests.nodes.raw import RawPeer

SEED = 20240229
ALLOWED = {row.code for row in statuses.TABLE if row.returned_when}


def sound(folder: Path) -> bytes:
    """The CT image that the corpus is made from."""
    return write(make("CT", 1), folder).read_bytes()


def real_oddities(packs: Path, *, largest_bytes: int = 2_000_000) -> Iterator[Malformed]:
    """The odd files among the packs of real DICOM, as they are; none where the packs are absent."""
    for pack in sorted([*packs.glob("*odd*.tar.xz"), *packs.glob("broken*.tar.xz")]):
        with tarfile.open(pack) as archive:
            for member in archive:
                if member.isfile() and member.size <= largest_bytes:
                    data = (archive.extractfile(member) or io.BytesIO()).read()
                    whole = data[128:132] == b"DICM" and len(data) > 144
                    yield Malformed(f"{pack.name}: {member.name}", data, split(data)[1] if whole else data)


def send_all(files: Iterator[Malformed], listener: Listener, storage: Storage, index: Index) -> Counter[int]:
    """Send every file as if it were one sound CT, and count the statuses; each is checked, and the node after it."""
    counts: Counter[int] = Counter()
    with RawPeer(listener.port, timeout_s=20) as peer:
        peer.associate()
        for file in files:
            before = {change.key for change in index.changes_since(0)}
            status = peer.store(uid(1, 1, 1), file.dataset)
            assert status in ALLOWED, f"{file.name}: {status:04X}"
            after = {change.key for change in index.changes_since(0)}
            assert bool(after - before) <= (status in {0x0000, 0xA901}), file.name
            wait_until(lambda: begun(storage.root) == [])
            counts[status] += 1
        peer.release()
    echo(Peer(host="127.0.0.1", port=listener.port, ae_title="PSDT", timeout_s=10), "SCANNER")
    return counts


def read_all(files: Iterator[Malformed], folder: Path) -> Counter[str]:
    """Read every file as ``psdt plan`` does, and count the findings; whatever it is, reading it raises nothing."""
    counts: Counter[str] = Counter()
    folder.mkdir()
    for file in files:
        path = folder / "one.dcm"
        path.write_bytes(file.data)
        try:
            intake = read_inputs([path])
        except Exception as error:
            raise AssertionError(f"{file.name} is not read but raises") from error
        counts.update({finding.code for finding in intake.exam.findings} or {"none"})
        path.unlink()
    return counts


def everything(folder: Path, mutations: int) -> Iterator[Malformed]:
    """The corpus, and the odd files of the packs where they are."""
    yield from corpus(sound(folder), seed=SEED, mutations=mutations)
    if BESIDE.exists():
        yield from real_oddities(BESIDE)

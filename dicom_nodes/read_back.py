"""Looking at a peer for what was sent to it: is it there, and is it still what it was?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import UID

from dicom_nodes import query, web
from dicom_nodes.config import Peer, WebPeer
from dicom_nodes.headers import MALFORMED, Header, file_parts, read_file_header
from dicom_nodes.retrieve import Counts, get


@dataclass(frozen=True)
class Seen:
    """What was seen of one object.

    Attributes:
        kept: it is there, and where it was fetched, it is what was sent.
        absent: it is not there, or not yet.
        words: how we know.
    """

    sop_instance_uid: str
    kept: bool
    absent: bool
    words: str


def find_each(paths: Sequence[Path], peer: Peer | WebPeer, calling_ae_title: str) -> Iterator[Seen]:
    """Ask a peer for each file by its UIDs (C-FIND or QIDO-RS); ``PeerError`` where it does not answer."""
    service = "QIDO-RS" if isinstance(peer, WebPeer) else "C-FIND"
    for path in paths:
        header = read_file_header(path)
        if isinstance(peer, WebPeer):
            found = web.find(peer, "IMAGE", _keys(header))
        else:
            found = query.find(peer, calling_ae_title, "IMAGE", _keys(header))
        uid = header.sop_instance_uid
        there = any(str(item.get("SOPInstanceUID", "")) == uid for item in found)
        yield Seen(uid, there, not there, service if there else f"{service} does not find it")


def get_each(paths: Sequence[Path], peer: Peer | WebPeer, calling_ae_title: str) -> Iterator[Seen]:
    """Have each file sent back (C-GET or WADO-RS) and compare it; ``PeerError`` where the peer does not answer."""
    service = "WADO-RS" if isinstance(peer, WebPeer) else "C-GET"
    for path in paths:
        header = read_file_header(path)
        uid = header.sop_instance_uid
        back = _by_web(peer, header) if isinstance(peer, WebPeer) else _by_get(peer, calling_ae_title, header)
        if isinstance(back, str):
            yield Seen(uid, kept=False, absent=True, words=f"{service} does not give it back ({back})")
            continue
        difference = compare(path.read_bytes(), *back)
        same = difference in {"same bytes", "same content in other bytes"}
        yield Seen(uid, kept=same, absent=False, words=f"{service}: {difference}")


def _keys(header: Header) -> dict[str, str]:
    return {
        "StudyInstanceUID": header.study_instance_uid,
        "SeriesInstanceUID": header.series_instance_uid,
        "SOPInstanceUID": header.sop_instance_uid,
    }


def _by_get(peer: Peer, calling_ae_title: str, header: Header) -> tuple[str, bytes] | str:
    """Transfer syntax and data set, or why there is none; only the transfer syntax that was sent is offered."""
    came: list[tuple[str, bytes]] = []

    def take(_sop_class: str, uid: str, syntax: str, dataset: bytes) -> int:
        if uid == header.sop_instance_uid:  # some archives give back the whole series
            came.append((syntax, dataset))
        return 0

    sop_class, syntax = UID(header.sop_class_uid), UID(header.transfer_syntax_uid)
    ended = get(
        peer,
        calling_ae_title,
        "IMAGE",
        _keys(header),
        take=take,
        progress=_quietly,
        classes=(sop_class,),
        syntaxes=(syntax,),
    )
    return came[0] if came else ended.reason or "nothing came"


def _quietly(_counts: Counts) -> None:
    """Nobody watches."""


def _by_web(peer: WebPeer, header: Header) -> tuple[str, bytes] | str:
    parts = list(web.retrieve(peer, header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid))
    if not parts:
        return "nothing came"
    syntax, _, dataset = file_parts(parts[0])
    return syntax, dataset


def compare(sent: bytes, syntax: str, dataset: bytes) -> str:
    """How a data set that came back differs from a file that was sent, in words that name attributes and no values."""
    sent_syntax, _, ours = file_parts(sent)
    if ours == dataset and sent_syntax == syntax:
        return "same bytes"
    try:
        one, other = _read(sent_syntax, ours), _read(syntax, dataset)
        tags = {element.tag for element in one} | {element.tag for element in other}
        changed = sorted(tag for tag in tags if tag.element != 0 and one.get(tag) != other.get(tag))
    except MALFORMED:
        return "what comes back is no data set"
    if not changed:
        return "same content in other bytes"
    names = [one.get(tag, other.get(tag)).keyword or str(tag) for tag in changed]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"it comes back with other {', '.join(names[:5])}{more}"


def _read(syntax: str, dataset: bytes) -> Dataset:
    stream = BytesIO(dataset)
    return dcmread(_with_meta(stream, syntax), force=True)


def _with_meta(stream: BytesIO, syntax: str) -> BytesIO:
    """A file of a data set: a preamble and the shortest file meta information that tells its transfer syntax."""
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little")
    return BytesIO(b"\0" * 128 + b"DICM" + length + element + stream.getvalue())

"""Orthanc on loopback, for tests that want a real archive on the other side."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.network import answers, free_port, wait_until
from tests.peers import require_file, require_peer

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc with an empty database.

    Attributes:
        aet: how it must be called; another called AE title is rejected.
    """

    dicom_port: int
    http_port: int
    aet: str

    def get(self, path: str) -> bytes:
        """The answer of its REST interface, such as ``/instances``."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            data: bytes = answer.read()
            return data

    def json(self, path: str) -> Any:
        """The answer of its REST interface as values."""
        return json.loads(self.get(path))

    def post(self, path: str, values: object) -> Any:
        """The answer of its REST interface to values that are given to it."""
        url, body = f"http://127.0.0.1:{self.http_port}{path}", json.dumps(values).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=30) as answer:
            return json.loads(answer.read())

    def instance_uids(self) -> dict[str, str]:
        """Orthanc's own id of every instance that it holds, by SOP Instance UID."""
        ids = self.json("/instances")
        return {self.json(f"/instances/{i}")["MainDicomTags"]["SOPInstanceUID"]: i for i in ids}

    def file(self, sop_instance_uid: str) -> bytes:
        """The file of an instance as Orthanc keeps it."""
        return self.get(f"/instances/{self.instance_uids()[sop_instance_uid]}/file")


@contextmanager
def start_orthanc(
    folder: Path,
    aet: str = "ORTHANC",
    *,
    modalities: Mapping[str, list[object]] | None = None,
    dicomweb: bool = False,
) -> Iterator[Orthanc]:
    """An Orthanc that keeps everything below ``folder``; it is stopped at the end.

    Args:
        modalities: peers that it may call and that may query it: AE title, host and port by name.
        dicomweb: with its DICOMweb plugin, below ``/dicom-web/``.
    """
    require_peer("Orthanc")
    if dicomweb:
        require_file(DICOMWEB)
    orthanc = Orthanc(free_port(), free_port(), aet)
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "Plugins": [str(DICOMWEB)] if dicomweb else [],
        "DicomModalities": dict(modalities or {}),
        "HttpPort": orthanc.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAet": aet,
        "DicomPort": orthanc.dicom_port,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowEcho": True,
        "OverwriteInstances": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "orthanc.json"
    config.write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["/usr/sbin/Orthanc", str(config)], stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(orthanc.http_port) and answers(orthanc.dicom_port), 30)
            yield orthanc
        finally:
            process.terminate()
            process.wait(20)

"""Send a folder with psdt's sender and print the seconds that it took, without the start of Python."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dicom_nodes.config import Peer
from dicom_nodes.sender import send
from dicom_nodes.statuses import Meaning


def main(port: str, folder: str) -> None:
    files = sorted(Path(folder).iterdir())
    peer = Peer(host="127.0.0.1", port=int(port), ae_title="PSDT")
    began = time.perf_counter()
    sent = send(files, peer, "STORESCU")
    took = time.perf_counter() - began
    if any(one.meaning is not Meaning.SUCCESS for one in sent):
        raise SystemExit("not everything was taken")
    print(took)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Objects out of the storage, without a lock in the path of those that come in.

A sender may send an object again in the very moment in which it is removed, and hear Success because it is there. So a
file is set aside first, and removed for good only a while later; if a row of the index then says that the object came
again, it is put back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from dicom_nodes.index import Index
from dicom_nodes.storage import Storage

GRACE_S = 600.0
"""No receipt of an object takes so long from its file to its row."""

FOLDER = "removed"


def set_aside(storage: Storage, index: Index, keys: Iterable[str], before_s: float) -> int:
    """Take objects that were received before a time out of index and storage; how many were there.

    Args:
        before_s: POSIX time; an object that came again later stays.
    """
    folder = storage.root / FOLDER
    folder.mkdir(exist_ok=True)
    count = 0
    for key in keys:
        received_at_s = index.received_at_s(key)
        if received_at_s is not None and received_at_s > before_s:
            continue
        index.remove(key)
        path = storage.path(key)
        if path.exists():
            aside = folder / key.replace("/", "~")
            path.rename(aside)
            os.utime(aside)
            count += 1
    return count


def settle(storage: Storage, index: Index, now_s: float) -> int:
    """Remove for good what was set aside long enough ago, and put back what came again; how many were removed."""
    folder = storage.root / FOLDER
    count = 0
    for aside in sorted(folder.iterdir()) if folder.is_dir() else ():
        key = aside.name.replace("~", "/")
        if index.received_at_s(key) is not None:
            target = storage.path(key)
            target.parent.mkdir(exist_ok=True)
            if not target.exists():
                os.link(aside, target)
                storage.sync(key)
            aside.unlink()
        elif now_s - aside.stat().st_mtime > GRACE_S:
            aside.unlink()
            count += 1
    return count

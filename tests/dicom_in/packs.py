"""Packs of real DICOM, which lie beside the checkout and are never part of it."""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"


def pack(name: str) -> Path:
    """The unpacked folder of one pack, in a cache outside the checkout; skips the test where the packs are absent."""
    archive = BESIDE / f"{name}.tar.xz"
    if not archive.is_file():
        pytest.skip(f"the pack of real data {name} is not beside the checkout")
    cache = Path(tempfile.gettempdir()) / f"psdt-data-{os.getuid()}"
    cache.mkdir(mode=0o700, exist_ok=True)
    folder = cache / name
    if not folder.is_dir():
        unpacked = Path(tempfile.mkdtemp(dir=cache))
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        for file in unpacked.rglob("*.gz"):
            with gzip.open(file) as packed, file.with_suffix("").open("wb") as plain:
                shutil.copyfileobj(packed, plain)
            file.unlink()
        try:
            unpacked.rename(folder)
        except OSError:  # another test run was first
            shutil.rmtree(unpacked)
    return folder

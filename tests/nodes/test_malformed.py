"""Malformed input: a status or a finding, a node that still answers, and nothing else touched."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_nodes.index import Index
from dicom_nodes.listener import Listener
from dicom_nodes.storage import Storage
from fixtures.malformed import DEPTH, PATH, corpus, mutated
from tests.malformed import SEED, everything, read_all, send_all, sound

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom warns of what is wrong; that is what the files are for
MUTATIONS = 80


def test_the_corpus_holds_what_it_says(tmp_path: Path) -> None:
    files = {file.name: file for file in corpus(sound(tmp_path), seed=SEED, mutations=20)}
    assert len(files) == 20 + 48
    assert files[f"sequences {DEPTH} deep"].dataset.count(b"\x08\x00\x40\x11SQ") == DEPTH
    assert PATH in files["path characters in SOPInstanceUID"].dataset
    again = [file.data for file in corpus(sound(tmp_path), seed=SEED, mutations=20)]
    assert [file.data for file in files.values()] == again
    other = [file.data for file in corpus(sound(tmp_path), seed=1, mutations=20)]
    assert sum(one != two for one, two in zip(again, other, strict=True)) == 20


def test_each_file_sent_ends_in_a_status(tmp_path: Path, listener: Listener, storage: Storage, index: Index) -> None:
    files = list(everything(tmp_path / "made", MUTATIONS))
    counts = send_all(iter(files), listener, storage, index)
    assert sum(counts.values()) == len(files)
    assert {0x0000, 0xA900, 0xA901, 0xC000} <= set(counts)
    assert not (tmp_path / "psdt-was-here").exists()
    assert not Path("/tmp/psdt-was-here").exists()  # noqa: S108
    files_there = [path for path in storage.root.rglob("*") if path.is_file() and path.stat().st_size]
    assert {path.relative_to(storage.root).parts[0] for path in files_there} <= {"objects", "quarantine"}


def test_each_file_read_ends_in_a_finding_or_is_read(tmp_path: Path) -> None:
    files = list(everything(tmp_path / "made", MUTATIONS))
    counts = read_all(iter(files), tmp_path / "one")
    assert counts["file-unreadable"] > 10
    assert not Path("/tmp/psdt-was-here").exists()  # noqa: S108


def test_psdt_plan_holds_a_folder_of_them_and_says_why(tmp_path: Path) -> None:
    """The command line itself: exit status 1 (held), a plan that says why, no traceback, no structure set."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, file in enumerate(corpus(sound(tmp_path), seed=SEED, mutations=20)):
        (folder / f"{number:03d}.dcm").write_bytes(file.data)
    command = [str(Path(sys.executable).with_name("psdt")), "plan", str(folder), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert "plan.json" in written
    assert "rtstruct.dcm" not in written
    assert "<script>alert(1)" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_mutation_changes_something() -> None:
    data = bytes(range(256)) * 8
    assert all(mutated(data, random.Random(n)) != data for n in range(50))
    assert mutated(b"", random.Random(3)) is not None

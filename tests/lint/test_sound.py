"""What is right is left alone."""

from __future__ import annotations

from pathlib import Path

from tests.lint.builder import planning_ct, saved, sound, verdict_on, write


def test_a_sound_set_on_its_ct_has_no_complaint_at_all(tmp_path: Path) -> None:
    ct = planning_ct()
    verdict = verdict_on(saved(sound(ct), tmp_path / "rtss.dcm"), write(tmp_path / "ct", ct))
    assert verdict.complaints == ()
    assert verdict.series_uid == ct[0].SeriesInstanceUID

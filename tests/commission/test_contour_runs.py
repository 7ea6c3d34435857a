"""The contours' part as it is run: every method on masks whose rings are known, and the command from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from psdt_planner.cli import app, commission
from psdt_planner.cli.errors import Exit, guarded
from psdt_planner.commission import run_contours
from psdt_planner.commission.contours import flags, rows, trips
from psdt_planner.commission.contours.ct_masks import FINER, FRAME, IDEAL, MaskJob, MaskRow, mask_jobs, run_masks
from psdt_planner.commission.contours.ct_masks import VOXELS as COUNTED
from psdt_planner.commission.contours.figures import contour_figures
from psdt_planner.commission.contours.files import ct_headers, structure_set_file
from psdt_planner.commission.contours.flags import (
    LINEAR,
    METHODS,
    MIDDLE,
    MR_FRAME,
    SMOOTHED,
    VOXELS,
    FlagJob,
    FlagKind,
    Scene,
    flag_jobs,
    flagged,
    fractions,
    resampled,
    run_flags,
    scene,
)
from psdt_planner.commission.contours.measures import Drawn
from psdt_planner.commission.contours.methods import (
    ISO_LINE,
    OURS,
    PLASTIMATCH,
    RT_UTILS,
    by_iso_line,
    by_plastimatch,
    by_psdt,
    by_rt_utils,
    methods,
)
from psdt_planner.commission.contours.solids import ball
from psdt_planner.commission.contours.trips import (
    SOLIDS,
    TripRow,
    masks_dice,
    rasterised,
    read_by_plastimatch,
    read_exactly,
    run_trips,
)
from psdt_planner.geometry import Grid, Rigid
from psdt_planner.shapes import Contour
from tests.commission.contour_rows import CONTOURS
from tests.peers import require_peer
from tests.structures.scenes import inside_rings

METHOD_OF = {OURS: by_psdt, RT_UTILS: by_rt_utils, ISO_LINE: by_iso_line, PLASTIMATCH: by_plastimatch}


def lattice(shape: tuple[int, int, int] = (6, 20, 24), frame: str = FRAME) -> Grid:
    """Square pixels of 2 mm, slices of 3 mm, away from the origin: rt-utils swaps the sides of oblong ones."""
    matrix = np.eye(4)[:, [2, 1, 0, 3]]
    matrix[:3, :3] *= np.array([3.0, 2.0, 2.0])
    matrix[:3, 3] = (-7.0, 11.0, 100.0)
    return Grid.regular(matrix, shape, frame)


def block(ct: Grid) -> np.ndarray:
    """Slices 1 to 4, rows 4 to 12, columns 5 to 16."""
    mask = np.zeros(ct.shape, dtype=bool)
    mask[1:5, 4:13, 5:17] = True
    return mask


class TestMethods:
    @pytest.mark.parametrize(
        ("method", "pixels"),
        [(RT_UTILS, 8 * 11), (ISO_LINE, 9 * 12 - 0.5), (PLASTIMATCH, 9 * 12 - 0.5)],
        ids=["through-centres", "corners-cut", "corners-cut-by-plastimatch"],
    )
    def test_a_block_has_the_area_that_each_peer_gives_it(self, method: str, pixels: float) -> None:
        if method == PLASTIMATCH:
            require_peer("plastimatch")
        ct = lattice()
        drawn = Drawn.of(METHOD_OF[method]([block(ct)], ct)[0])
        assert sorted(drawn.areas) == [1, 2, 3, 4]
        for area in drawn.areas.values():
            assert area.area == pytest.approx(pixels * 4.0, rel=1e-4)
            assert (area.centroid.x, area.centroid.y) == (pytest.approx(-7.0 + 21.0), pytest.approx(11.0 + 16.0))

    def test_psdt_keeps_the_blocks_volume_and_place(self) -> None:
        ct = lattice()
        drawn = Drawn.of(by_psdt([block(ct)], ct)[0])
        assert drawn.volume_mm3(3.0) == pytest.approx(4 * 108 * 12.0, rel=0.005)
        assert (drawn.areas[2].centroid.x, drawn.areas[2].centroid.y) == (
            pytest.approx(14.0, abs=0.05),
            pytest.approx(27.0, abs=0.05),
        )

    def test_plastimatch_takes_more_masks_than_an_image_has_bits(self) -> None:
        require_peer("plastimatch")
        ct = lattice()
        masks = [np.roll(block(ct), n % 6, axis=2) for n in range(35)]
        found = by_plastimatch(masks, ct)
        assert [Drawn.of(rings).areas[2].centroid.x for rings in found] == pytest.approx(
            [14.0 + 2.0 * (n % 6) for n in range(35)], abs=0.01
        )

    def test_a_peer_that_is_not_installed_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda _name: None)
        assert list(methods()) == [OURS, RT_UTILS, ISO_LINE]


@pytest.fixture(scope="module")
def found() -> tuple[MaskRow, ...]:
    return run_masks(MaskJob(FINER, 6.0, 3, 5), {name: METHOD_OF[name] for name in (OURS, RT_UTILS, ISO_LINE)})


class TestMasks:
    def test_every_method_has_a_row_a_place_and_so_have_truth_and_mask(self, found: tuple[MaskRow, ...]) -> None:
        names = [IDEAL, OURS, RT_UTILS, ISO_LINE, COUNTED]
        assert [(row.method, row.place) for row in found] == [(name, place) for name in names for place in range(3)]

    def test_rows_say_what_is_known_of_each_method(self, found: tuple[MaskRow, ...]) -> None:
        """rt-utils draws through the outermost centres: half a pixel too small, which is 17 % here."""
        for row in found:
            assert row.true_mm3 == pytest.approx(4 / 3 * np.pi * 216.0)
            assert abs(row.mask_mm3 / row.true_mm3 - 1.0) < 0.06
            if row.method == IDEAL:
                assert abs(row.rms_mm or 0.0) < 0.001
            if row.method == OURS:
                assert abs(row.of_mask) < 1.0
                assert (row.rms_mm or 9.0) < 0.2
            if row.method == RT_UTILS:
                assert row.of_mask == pytest.approx(-17.5, abs=2.0)
                assert row.signed_mm == pytest.approx(-0.46, abs=0.05)
            if row.method == COUNTED:
                assert (row.of_mask, row.signed_mm, row.rms_mm, row.points) == (0.0, None, None, 0)

    def test_large_spheres_do_with_a_third_of_the_places(self) -> None:
        assert {(job.radius_mm, job.places) for job in mask_jobs(20, 1)} == {
            (4.0, 20), (6.0, 20), (10.0, 20), (20.0, 20), (40.0, 6),
        }  # fmt: skip
        assert min(job.places for job in mask_jobs(1, 1)) == 1


class TestFlags:
    def test_the_part_of_a_voxel_is_that_of_a_fine_count(self) -> None:
        solid, grid = ball(6.0, (9.0, 27.0, 107.0)), lattice()
        found = fractions(solid, grid)
        steps = np.stack(np.meshgrid(*[(np.arange(15) + 0.5) / 15 - 0.5] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        for k, j, i in ((0, 8, 8), (2, 6, 9), (3, 8, 11), (5, 1, 1)):
            held = solid.holds(grid.mm_from_index(np.array([k, j, i]) + steps)).mean()
            assert found[k, j, i] == pytest.approx(held, abs=0.03)

    def test_kinds_of_flag(self) -> None:
        part = np.array([0.0, 0.2, 0.5, 0.8, 1.0], dtype=np.float32)
        random = np.random.default_rng(1)
        assert flagged(part, FlagKind.BINARY, random).tolist() == [0, 0, 1, 1, 1]
        assert flagged(part, FlagKind.SOFT, random) is part
        noisy = flagged(np.tile(part, (4000, 1)), FlagKind.NOISY, random)
        assert set(noisy[:, 0]) == {0.0}
        assert set(noisy[:, 4]) == {1.0}
        assert noisy[:, 2].std() == pytest.approx(0.15, abs=0.01)
        assert noisy.min() == 0.0
        assert noisy.max() == 1.0

    def test_a_scene_is_the_same_again_and_another_at_the_next_place(self) -> None:
        job = FlagJob(VOXELS[0], "lobed", 2, 3)
        one, again, other = scene(job, 0), scene(job, 0), scene(job, 1)
        assert (one.fraction == again.fraction).all()
        assert one.ct == again.ct
        assert one.ct != other.ct
        assert one.mr.spacing_kji_mm == pytest.approx(VOXELS[0])

    def test_the_lesion_lies_where_its_voxels_are_carried_to(self) -> None:
        made = scene(FlagJob(VOXELS[0], "sphere 10 mm", 1, 3), 0)
        index = np.argwhere(made.fraction > 0.99)
        carried = made.ct_from_mr.apply(made.mr.mm_from_index(index))
        assert len(index) > 100
        assert made.solid.holds(carried).all()
        total_mm3 = made.fraction.sum() * np.prod(VOXELS[0])
        assert total_mm3 == pytest.approx(made.solid.volume_mm3, rel=0.01)

    def test_nearest_and_linear_carry_as_they_say(self) -> None:
        """The CT is the DWI shifted by 0.4 of a column: nearest moves nothing, linear gives 0.6 and 0.4."""
        mr, shift = lattice(frame=MR_FRAME), np.eye(4)
        shift[0, 3] = 0.8
        mask = block(mr).astype(np.float32)
        ct = Grid(mr.slice_origins_mm, mr.step_j_mm, mr.step_i_mm, mr.shape, FRAME)
        made = Scene(ball(1.0), ct, Rigid(shift, FRAME, MR_FRAME), mr, mask)
        assert (resampled(made, mask, 0) == block(mr)).all()
        mask[:, :, 5] *= 0.8
        assert resampled(made, mask, 1).sum() == 4 * 9 * 11, "0.6 times 0.8 is less than a half"

    def test_every_method_draws_every_kind(self) -> None:
        found = run_flags(FlagJob(VOXELS[0], MIDDLE, 1, 3))
        assert [(row.kind, row.method) for row in found] == [(kind, name) for kind in FlagKind for name in METHODS]
        ours = {row.kind: row for row in found if row.method == OURS}
        assert ours[FlagKind.SOFT].dice > 0.93
        assert ours[FlagKind.SOFT].hd95_mm < 1.2
        assert all(ours[row.kind].dice > row.dice for row in found if row.method not in (OURS, SMOOTHED))
        for row in found:
            if row.method == SMOOTHED:
                assert abs(row.of_mask) < 0.2, "its level keeps the mask's volume"
                assert row.dice == pytest.approx(ours[row.kind].dice, abs=0.03)
        assert next(row for row in found if row.method == LINEAR).of_true < 0.0

    def test_a_binary_flag_without_a_voxel_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(flags, "SOLIDS", {"tiny": lambda _random: ball(0.9)})
        found = run_flags(FlagJob(VOXELS[1], "tiny", 1, 3))
        assert FlagKind.BINARY not in {row.kind for row in found}

    def test_jobs_are_every_form_on_every_size_of_voxels(self) -> None:
        assert len({job.name for job in flag_jobs(4, 1)}) == len(flag_jobs(4, 1)) == 12
        assert {job.places for job in flag_jobs(20, 1)} == {12}
        assert {job.places for job in flag_jobs(1, 1)} == {1}


class TestTrips:
    def test_rings_are_filled_as_the_slow_count_says(self) -> None:
        ct = lattice()
        outer = np.array([(-5.3, 13.1), (30.2, 12.7), (29.9, 44.4), (12.2, 20.3), (-5.1, 44.6)])
        rings = [outer, np.array([(-1.2, 15.8), (6.3, 16.2), (5.9, 22.3)])]
        mask = rasterised([(2, ring) for ring in rings], ct)
        centres = ct.centres_mm()[2, :, :, :2].reshape(-1, 2)
        assert (mask[2].ravel() == inside_rings(rings, centres)).all()
        assert mask[2].sum() == mask.sum() > 50

    def test_files_are_read_back_in_the_order_of_their_regions(self) -> None:
        ct = lattice((6, 40, 40))
        squares = [np.array([(0, 20), (10 + n, 20), (10 + n, 30), (0, 30)], float) for n in range(9)]
        rois = {f"R{n}": [_contour(ring, 2, ct)] for n, ring in enumerate(squares)}
        data = structure_set_file(rois, ct, ct_headers(ct))
        exact = read_exactly(data, ct)
        assert [mask.sum() for mask in exact] == [rasterised([(2, ring)], ct).sum() for ring in squares]
        require_peer("plastimatch")
        seen = read_by_plastimatch(data, ct)
        assert len(seen) == len(SOLIDS)
        assert all(masks_dice(*pair) > 0.9 for pair in zip(exact, seen, strict=False))

    def test_dice_of_masks(self) -> None:
        one = np.array([True, True, False, False])
        assert masks_dice(one, one) == 1.0
        assert masks_dice(one, ~one) == 0.0
        assert masks_dice(one, np.array([True, False, False, False])) == pytest.approx(2 / 3)

    def test_every_form_comes_back(self) -> None:
        found = run_trips(1, 4)
        assert {row.solid for row in found} == set(SOLIDS)
        assert min(row.dice for row in found) >= 0.98


def _contour(ring: np.ndarray, k: int, ct: Grid) -> Contour:
    return Contour(np.column_stack([ring, np.full(len(ring), ct.slice_origins_mm[k, 2])]), k)


# as a physicist runs it ----------------------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sphere on one CT, one form of flag, one file with two forms."""
    monkeypatch.setattr(trips, "SOLIDS", {name: SOLIDS[name] for name in ("sphere 6 mm", "C")})
    monkeypatch.setattr(rows, "mask_jobs", lambda places, seed: mask_jobs(places, seed)[1:2])
    monkeypatch.setattr(rows, "flag_jobs", lambda places, seed: flag_jobs(places, seed)[2:3])


def psdt(*words: str | Path) -> int:
    return guarded(lambda: app([str(word) for word in words], standalone_mode=False))


def test_a_run_tells_how_far_it_is_and_gives_the_same_again(few: None) -> None:
    told: list[tuple[str, int, int]] = []
    one = run_contours(1, 9, lambda *step: told.append(step))
    assert told == [
        ("CT 1 × 1 × 2 mm, radius 6 mm", 0, 3), ("DWI 1.6 × 1.6 × 5 mm, sphere 10 mm", 1, 3), ("masks read back", 2, 3),
    ]  # fmt: skip
    assert run_contours(1, 9) == one
    assert run_contours(1, 10) != one


def test_contours_alone_are_a_page_of_their_own(few: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "validation.md"
    page.write_text("as it was", encoding="utf-8")
    status = psdt("commission", "--out", tmp_path / "out", "--only", "contours", "--places", "1", "--markdown", page)
    report = json.loads((tmp_path / "out" / "commission.json").read_text(encoding="utf-8"))
    assert status == (Exit.HELD if report["missed"] else Exit.DONE)
    assert page.read_text(encoding="utf-8") == "as it was"
    text = (tmp_path / "validation-contours.md").read_text(encoding="utf-8")
    assert text.startswith(
        "# Validation: contours\n\nMade by `psdt commission --out DIR --first 101 --only contours --places 1` with"
    )
    assert "mapping: [validation.md](validation.md)" in text
    assert (report["cases"], len(report["contours"]["flags"])) == ([], 3 * len(METHODS))
    html = (tmp_path / "out" / "commission.html").read_text(encoding="utf-8")
    assert "Masks on CT: 1; flags on DWI: 3; masks read back: 2" in html
    assert "Phantoms:" not in html
    assert "Contours" in capsys.readouterr().out


@pytest.mark.parametrize(("dice", "status"), [(0.99, Exit.DONE), (0.5, Exit.HELD)])
def test_a_missed_bar_is_the_exit_status(
    dice: float, status: Exit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = replace(CONTOURS, trips=(*CONTOURS.trips, TripRow("C", 1, OURS, dice)))
    monkeypatch.setattr(commission, "run_contours", lambda _places, _seed, _progress: changed)
    assert psdt("commission", "--out", tmp_path, "--only", "contours") == status
    missed = "missed: masks read back by psdt: Dice, worst: 0.50, must be at least 0.98\n"
    assert capsys.readouterr().err == ("" if dice > 0.98 else missed)
    assert [one.key for one in contour_figures(changed) if one.missed] == ([] if dice > 0.98 else ["trip_psdt"])

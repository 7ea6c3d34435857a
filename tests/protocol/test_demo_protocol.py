"""The shipped demonstration protocol, row by row: a number that changes without its source fails here."""

from __future__ import annotations

import pytest

from psdt_planner.fractionation import Abstention, Proposal, TargetFacts, propose
from psdt_planner.protocol import SITE_KEYS, Cited, Protocol

# Site; regimen in order of preference; single-fraction rows ask for 1 mm; source; basis; certainty; proposed or listed.
REGIMENS = """
spine           30/3     NRG-BR001      read             H  proposed
spine           27/3     Elekta         read             M  proposed
spine           24/2     SC.24          recalled         H  proposed
spine           35/5     Elekta         read             M  proposed
spine           20/1     SABR-COMET     read             H  within-1-mm
spine           21/3     project        project-derived  L  listed
bone            30/3     NRG-BR001      read             H  proposed
bone            35/5     SABR-COMET     read             H  proposed
bone            30/5     TRAP           read             H  proposed
bone            20/1     POPSTAR        recalled         H  within-1-mm
bone            21/3     Gallizia       recalled         L  listed
pelvic-node     30/3     PEACE          read             H  proposed
pelvic-node     30/5     TRAP           read             H  proposed
pelvic-node     35/5     German         read             H  proposed
pelvic-node     45/6     SBRT-SG05      read             M  proposed
pelvic-node     20/1     POPSTAR        recalled         H  within-1-mm
pelvic-node     27.5/5   Georgetown     recalled         L  listed
paraaortic-node 30/5     TRAP           read             H  proposed
paraaortic-node 35/5     German         read             H  proposed
paraaortic-node 30/3     STOMP          transcribed      H  proposed
paraaortic-node 45/3     NRG-BR001      read             H  listed
prostate        36.25/5  PACE-B         recalled         H  proposed
prostate        36/6     TRAP           read             H  proposed
prostate        30/5     series         recalled         M  listed
"""

# Site; GTV to CTV; CTV to PTV; largest uncertainty; each with the beginning of its source and its certainty.
MARGINS = [
    ("spine", "0 mm", "Cox", "L", "3 mm", "Toussaint", "M", 3.0, "AAPM TG-132", "M"),
    ("bone", "5 mm", "Nguyen", "H", "5 mm", "BMC Cancer 2020", "M", 5.0, "project-derived", "M"),
    ("pelvic-node", "0 mm", "German survey", "H", "5 mm", "German survey", "H", 5.0, "project-derived", "M"),
    ("paraaortic-node", "0 mm", "German survey", "H", "5 mm", "German survey", "H", 5.0, "project-derived", "M"),
    ("prostate", "5 mm", "project-derived", "L", "5 mm (posterior 3 mm)", "PACE-B", "H", 3.0, "project-derived", "M"),
]

PROPOSED_FIRST = {
    "spine": ("30 Gy in 3", "_1000x3"),
    "bone": ("30 Gy in 3", "_1000x3"),
    "pelvic-node": ("30 Gy in 3", "_1000x3"),
    "paraaortic-node": ("30 Gy in 5", "_600x5"),
    "prostate": ("36.25 Gy in 5", "_725x5"),
}


def test_every_regimen_stands_with_its_source(demo: Protocol) -> None:
    expected = [tuple(line.split()) for line in REGIMENS.strip().splitlines()]

    found = []
    for key, site in demo.sites.items():
        for row, line in zip(site.regimens, [line for line in expected if line[0] == key], strict=True):
            use = "listed" if row.listed_only else "within-1-mm" if row.when else "proposed"
            source = line[2] if row.source.startswith(line[2]) else row.source
            found.append((key, f"{row.dose_gy:g}/{row.fractions}", source, row.basis, row.certainty, use))
            if row.when:
                assert (row.when.max_uncertainty_mm, row.when.max_ptv_ml) == (1.0, None)
                assert row.when.source.startswith("AAPM TG-132")
    assert found == expected


def test_a_single_fraction_asks_for_the_place_to_a_millimetre(demo: Protocol) -> None:
    rows = [row for site in demo.sites.values() for row in site.regimens if row.fractions == 1]

    assert rows
    assert all(row.when and row.when.max_uncertainty_mm == 1.0 for row in rows)


@pytest.mark.parametrize("row", MARGINS, ids=lambda row: row[0])
def test_every_margin_and_limit_stands_with_its_source(demo: Protocol, row: tuple[str | float, ...]) -> None:
    site = demo.sites[str(row[0])]

    for cited, value, expected in [
        (site.gtv_to_ctv, str(site.gtv_to_ctv), row[1:4]),
        (site.ctv_to_ptv, str(site.ctv_to_ptv), row[4:7]),
        (site.max_uncertainty, site.max_uncertainty.mm, row[7:10]),
    ]:
        assert (value, cited.certainty) == (expected[0], expected[2])
        assert cited.source.startswith(str(expected[1]))
    assert (site.max_volume.ptv_ml, site.max_volume.source) == (163.0, "RTOG 0813 and 0915 protocols")
    assert site.order.basis == "project-derived"


def test_an_uncertainty_that_may_pass_is_covered_by_every_side_of_the_margin(demo: Protocol) -> None:
    for site in demo.sites.values():
        assert site.max_uncertainty.mm <= min(side for axis in site.ctv_to_ptv.lps_mm for side in axis)


def test_what_holds_for_all_sites(demo: Protocol) -> None:
    assert demo.status == "demo"
    assert not demo.signer
    assert tuple(demo.sites) == SITE_KEYS
    assert [row.key for row in demo.alpha_beta] == ["1.5", "3", "10"]
    assert (demo.ablative_floor.bed_gy, demo.ablative_floor.alpha_beta_gy) == (80.0, 3.0)
    assert demo.ablative_floor.source.startswith("Triggiani")
    assert (demo.targets.warn_above, demo.targets.max) == (3, 5)


@pytest.mark.parametrize("site", SITE_KEYS)
def test_each_site_gets_its_first_regimen(demo: Protocol, site: str) -> None:
    outcome = propose(TargetFacts(site, 2.0, 12.0, 2.2), demo, targets=2)

    assert isinstance(outcome, Proposal)
    assert (str(outcome.schedule), outcome.tg263_suffix) == PROPOSED_FIRST[site]
    assert outcome.sources[0] == demo.sites[site].regimens[0].citation
    assert any("demonstration" in caution for caution in outcome.cautions)
    assert any(caution.startswith("Project-derived: ") for caution in outcome.cautions)


@pytest.mark.parametrize("site", SITE_KEYS)
def test_each_site_abstains_beyond_each_of_its_limits(demo: Protocol, site: str) -> None:
    limit_mm, limit_ml = demo.sites[site].max_uncertainty.mm, demo.sites[site].max_volume.ptv_ml

    assert isinstance(propose(TargetFacts(site, 2.0, limit_ml, limit_mm), demo, targets=5), Proposal)
    assert isinstance(propose(TargetFacts(site, 2.0, limit_ml, limit_mm + 0.01), demo, targets=5), Abstention)
    assert isinstance(propose(TargetFacts(site, 2.0, limit_ml + 0.01, limit_mm), demo, targets=5), Abstention)
    assert isinstance(propose(TargetFacts(site, 2.0, limit_ml, limit_mm), demo, targets=6), Abstention)


def test_no_ground_of_low_certainty_decides_unmarked(demo: Protocol) -> None:
    for site in SITE_KEYS:
        outcome = propose(TargetFacts(site, 2.0, 12.0, 2.2), demo, targets=2)
        assert isinstance(outcome, Proposal)
        for ground in outcome.grounds:
            marks = [caution for caution in outcome.cautions if caution.startswith("Low certainty: ")]
            assert (ground.certainty == "L") == any(ground.decides in mark for mark in marks)


def test_what_no_source_says_does_not_look_like_literature(demo: Protocol) -> None:
    assert demo.registration_margin is not None
    rows: list[Cited] = [*demo.alpha_beta, demo.ablative_floor, demo.targets, demo.registration_margin]
    for site in demo.sites.values():
        rows += [site.gtv_to_ctv, site.ctv_to_ptv, site.max_uncertainty, site.max_volume, site.order, *site.regimens]
        rows += [row.when for row in site.regimens if row.when]

    ours = [row for row in rows if row.source == "project-derived"]

    assert len(ours) == 12
    assert all(row.basis == "project-derived" for row in ours)
    assert all(row.citation.startswith("project-derived, ") for row in ours)

"""The shipped protocol, row by row: a number that changes without its source fails here."""

from __future__ import annotations

import pytest

from psdt_planner.fractionation import Abstention, Proposal, Schedule, TargetFacts, propose
from psdt_planner.protocol import SITE_KEYS, Protocol, Regimen

# Site; regimen in order of preference; end of its TG-263 name; source; basis; certainty; condition, if any; or listed.
REGIMENS = """
spine               30/3    1000x3  NRG-BR001       read            H  proposed
spine               27/3     900x3  Elekta          read            M  proposed
spine               24/2    1200x2  SC.24           recalled        H  proposed
spine               35/5     700x5  Elekta          read            M  proposed
spine               30/5     600x5  TRAP            read            H  proposed
spine               24/3     800x3  SBRT-SG05       read            M  proposed
spine               28/2    1400x2  practice        recalled        L  proposed
spine               30/4     750x4  practice        recalled        L  proposed
spine               24/1    2400x1  Zelefsky        recalled        H  within-1-mm
spine               20/1    2000x1  SABR-COMET      read            H  within-1-mm
spine               18/1    1800x1  SBRT-SG05       read            M  within-1-mm
spine               16/1    1600x1  SABR-COMET      read            H  within-1-mm
spine               40/5     800x5  practice        recalled        L  listed
spine               21/3     700x3  project-derived project-derived L  listed
bone                30/3    1000x3  NRG-BR001       read            H  proposed
bone                35/5     700x5  SABR-COMET      read            H  proposed
bone                30/5     600x5  TRAP            read            H  proposed
bone                27/3     900x3  Zelefsky        recalled        H  proposed
bone                24/3     800x3  practice        recalled        L  proposed
bone                20/1    2000x1  POPSTAR         recalled        H  within-1-mm
bone                24/1    2400x1  Owen            transcribed     M  within-1-mm
bone                16/1    1600x1  SBRT-SG05       read            M  within-1-mm
bone                21/3     700x3  Gallizia        recalled        L  listed
femur               30/3    1000x3  NRG-BR001       read            H  proposed
femur               30/5     600x5  TRAP            read            H  proposed
femur               27/3     900x3  Zelefsky        recalled        H  proposed
femur               24/3     800x3  practice        recalled        L  proposed
femur               20/1    2000x1  POPSTAR         recalled        H  within-1-mm
femur               35/5     700x5  SABR-COMET      read            H  listed
rib                 30/3    1000x3  NRG-BR001       read            H  proposed
rib                 35/5     700x5  SABR-COMET      read            H  proposed
rib                 30/5     600x5  TRAP            read            H  proposed
rib                 27/3     900x3  Zelefsky        recalled        H  proposed
rib                 20/1    2000x1  POPSTAR         recalled        H  within-1-mm
skull               30/3    1000x3  NRG-BR001       read            H  proposed
skull               35/5     700x5  SABR-COMET      read            H  proposed
skull               30/5     600x5  TRAP            read            H  proposed
skull               27/3     900x3  Zelefsky        recalled        H  proposed
skull               24/3     800x3  practice        recalled        L  proposed
skull               20/1    2000x1  POPSTAR         recalled        H  within-1-mm
skull               16/1    1600x1  SBRT-SG05       read            M  within-1-mm
pelvic-node         30/3    1000x3  PEACE           read            H  proposed
pelvic-node         30/5     600x5  TRAP            read            H  proposed
pelvic-node         35/5     700x5  German          read            H  proposed
pelvic-node         40/5     800x5  German          read            H  proposed
pelvic-node         33/3    1100x3  SBRT-SG05       read            M  proposed
pelvic-node         45/6     750x6  SBRT-SG05       read            M  proposed
pelvic-node         20/1    2000x1  POPSTAR         recalled        H  within-1-mm
pelvic-node         24/1    2400x1  Zelefsky        recalled        M  within-1-mm
pelvic-node         27.5/5   550x5  Georgetown      recalled        L  listed
paraaortic-node     30/5     600x5  TRAP            read            H  proposed
paraaortic-node     35/5     700x5  German          read            H  proposed
paraaortic-node     30/3    1000x3  STOMP           transcribed     H  proposed
paraaortic-node     40/5     800x5  German          read            H  proposed
paraaortic-node     36/3    1200x3  German          read            H  proposed
paraaortic-node     20/1    2000x1  POPSTAR         recalled        H  within-1-mm
paraaortic-node     45/3    1500x3  NRG-BR001       read            H  clear:Duodenum+Bowel_Small:19
mediastinal-node    50/5    1000x5  NRG-BR001       read            H  clear:Esophagus+Bronchus+Trachea
mediastinal-node    60/8     750x8  SABR-COMET      read            H  proposed
mediastinal-node    45/5     900x5  UK              recalled        L  clear:Esophagus+Bronchus+Trachea
mediastinal-node    40/5     800x5  UK              recalled        L  clear:Esophagus+Bronchus+Trachea
mediastinal-node    36/3    1200x3  practice        recalled        L  listed
mediastinal-node    30/3    1000x3  practice        recalled        L  listed
neck-node           50/5    1000x5  NRG-BR001       read            H  proposed
neck-node           45/5     900x5  practice        recalled        L  proposed
neck-node           40/5     800x5  practice        recalled        L  proposed
neck-node           30/3    1000x3  STOMP           transcribed     H  proposed
lung-peripheral     54/3    1800x3  SABR-COMET      read            H  <=30mm
lung-peripheral     55/5    1100x5  SABR-COMET      read            H  proposed
lung-peripheral     45/3    1500x3  NRG-BR001       read            H  proposed
lung-peripheral     48/4    1200x4  RTOG            recalled        H  proposed
lung-peripheral     50/5    1000x5  UK              recalled        M  proposed
lung-peripheral     60/5    1200x5  UK              recalled        L  proposed
lung-peripheral     34/1    3400x1  RTOG            recalled        H  within-1-mm
lung-peripheral     30/1    3000x1  practice        recalled        L  within-1-mm
lung-peripheral     28/1    2800x1  SAFRON          recalled        H  within-1-mm
lung-central        50/5    1000x5  NRG-BR001       read            H  clear:Esophagus+Bronchus+Trachea
lung-central        60/8     750x8  SABR-COMET      read            H  proposed
lung-central        55/5    1100x5  UK              recalled        L  clear:Esophagus+Bronchus+Trachea
liver               45/3    1500x3  NRG-BR001       read            H  proposed
liver               50/5    1000x5  SABR-COMET      read            H  proposed
liver               54/3    1800x3  SABR-COMET      read            H  proposed
liver               55/5    1100x5  SABR-COMET      read            H  proposed
liver               60/5    1200x5  SABR-COMET      read            H  proposed
liver               60/3    2000x3  SABR-COMET      read            H  proposed
liver               27/3     900x3  CyberKnife      read            H  listed
adrenal             45/3    1500x3  NRG-BR001       read            H  proposed
adrenal             60/8     750x8  SABR-COMET      read            H  proposed
adrenal             50/5    1000x5  practice        recalled        L  proposed
adrenal             40/5     800x5  practice        recalled        L  proposed
adrenal             36/3    1200x3  practice        recalled        L  proposed
adrenal             30/3    1000x3  practice        recalled        L  proposed
prostate            36.25/5  725x5  PACE-B          recalled        H  proposed
prostate            36/6     600x6  TRAP            read            H  proposed
prostate            40/5     800x5  PACE-B          recalled        H  listed
prostate            60/20    300x20 practice        recalled        M  listed
prostate-recurrence 30/5     600x5  series          recalled        M  listed
prostate-recurrence 35/5     700x5  series          recalled        M  listed
prostate-recurrence 36/6     600x6  Pelvic          read            M  listed
brain               27/3     900x3  practice        recalled        M  proposed
brain               30/5     600x5  practice        recalled        M  proposed
brain               35/5     700x5  practice        recalled        L  proposed
brain               24/1    2400x1  RTOG            recalled        H  <=20mm,within-1-mm
brain               18/1    1800x1  RTOG            recalled        H  >20mm,<=30mm,within-1-mm
brain               15/1    1500x1  RTOG            recalled        H  >30mm,<=40mm,within-1-mm
brain               40/5     800x5  SABR-COMET      read            H  listed
"""

# Site; GTV to CTV; CTV to PTV; largest uncertainty; each with the beginning of its source and its certainty.
MARGINS = """
spine | 0 mm | Cox | L | 3 mm | Toussaint | M | 3 mm | AAPM | M
bone | 5 mm | Nguyen | H | 5 mm | BMC | M | 5 mm | project-derived | M
femur | 5 mm | Nguyen | H | 5 mm | BMC | M | 5 mm | project-derived | M
rib | 5 mm | Nguyen | H | 5 mm | BMC | M | 5 mm | project-derived | M
skull | 5 mm | Nguyen | H | 3 mm | practice | L | 3 mm | project-derived | M
pelvic-node | 0 mm | German | H | 5 mm | German | H | 5 mm | project-derived | M
paraaortic-node | 0 mm | German | H | 5 mm | German | H | 5 mm | project-derived | M
mediastinal-node | 0 mm | German | H | 5 mm | German | H | 5 mm | project-derived | M
neck-node | 0 mm | German | H | 5 mm | German | H | 5 mm | project-derived | M
lung-peripheral | 0 mm | UK | M | 5 mm | UK | M | 5 mm | project-derived | M
lung-central | 0 mm | UK | M | 5 mm | UK | M | 5 mm | project-derived | M
liver | 0 mm | CyberKnife | M | 5 mm | CyberKnife | M | 5 mm | project-derived | M
adrenal | 0 mm | practice | L | 5 mm | practice | L | 5 mm | project-derived | M
prostate | 5 mm | project-derived | L | 5 mm (posterior 3 mm) | PACE-B | H | 3 mm | project-derived | M
prostate-recurrence | 5 mm | series | L | 5 mm | series | L | 5 mm | project-derived | M
brain | 0 mm | RTOG | M | 2 mm | practice | L | 2 mm | project-derived | M
"""

# Site; organ; gap; what a GTV in it means; what it stands for; beginning of its source; basis; certainty.
SPARED = """
spine            SpinalCord    2 hold -                                     Toussaint       read            M
spine            CaudaEquina   0 hold -                                     project-derived project-derived M
spine            ThecalSac     0 hold SpinalCord,CaudaEquina                project-derived project-derived M
spine            SpinalCanal   0 warn SpinalCord,CaudaEquina,ThecalSac      UK              recalled        M
bone             SpinalCord    2 hold -                                     Toussaint       read            M
bone             SpinalCanal   0 warn SpinalCord,CaudaEquina,ThecalSac      UK              recalled        M
rib              SpinalCord    2 hold -                                     Toussaint       read            M
rib              SpinalCanal   0 warn SpinalCord,CaudaEquina,ThecalSac      UK              recalled        M
pelvic-node      Rectum        0 warn -                                     project-derived project-derived L
pelvic-node      Bladder       0 warn -                                     project-derived project-derived L
pelvic-node      Bowel_Small   0 warn -                                     project-derived project-derived L
pelvic-node      Colon_Sigmoid 0 warn -                                     project-derived project-derived L
paraaortic-node  Duodenum      0 warn -                                     project-derived project-derived L
paraaortic-node  Bowel_Small   0 warn -                                     project-derived project-derived L
paraaortic-node  Stomach       0 warn -                                     project-derived project-derived L
mediastinal-node Esophagus     0 warn -                                     project-derived project-derived L
mediastinal-node Trachea       0 warn -                                     project-derived project-derived L
lung-central     Esophagus     0 warn -                                     project-derived project-derived L
lung-central     Trachea       0 warn -                                     project-derived project-derived L
liver            Stomach       0 warn -                                     project-derived project-derived L
liver            Duodenum      0 warn -                                     project-derived project-derived L
liver            Bowel_Small   0 warn -                                     project-derived project-derived L
adrenal          Stomach       0 warn -                                     project-derived project-derived L
adrenal          Duodenum      0 warn -                                     project-derived project-derived L
adrenal          Bowel_Small   0 warn -                                     project-derived project-derived L
prostate-recurrence Rectum        0 warn -                                     project-derived project-derived L
prostate-recurrence Bladder       0 warn -                                     project-derived project-derived L
brain            Brainstem     0 warn -                                     project-derived project-derived L
"""

ASKED = """
spine               SpinalCanal Esophagus GreatVes Bowel_Small
bone                Skin Bowel_Small Rectum SacralPlex
femur               Skin Femur_Head
rib                 Chestwall Skin
skull               Brain Brainstem OpticChiasm
pelvic-node         Bowel_Small Rectum Bladder SacralPlex
paraaortic-node     Duodenum Bowel_Small Stomach Kidney
mediastinal-node    Esophagus Bronchus Trachea Heart GreatVes SpinalCanal
neck-node           BrachialPlex SpinalCanal Skin Esophagus
lung-peripheral     Chestwall Lung Skin SpinalCanal
lung-central        Esophagus Bronchus Trachea Heart GreatVes Lung SpinalCanal
liver               Liver Stomach Duodenum Bowel_Small Kidney BileDuct_Common Chestwall
adrenal             Stomach Duodenum Bowel_Small Kidney Liver SpinalCanal
prostate            Rectum Bladder Bowel_Small PenileBulb
prostate-recurrence Rectum Bladder Bowel_Small
brain               Brainstem OpticChiasm Brain
"""
"""Organs that must have been seen at each site."""

# What the GTV involves, how it takes the body, what the CTV takes in; basis and certainty.
SECTOR_RULES = """
body                       -           body                                                    recalled    M
body                       lateralised body,pedicle,lamina                                     recalled    M
body                       diffuse     body,pedicle,other-pedicle,lamina,other-lamina          recalled    M
body,pedicle               -           body,pedicle,lamina                                     transcribed H
body,pedicle,other-pedicle -           body,pedicle,other-pedicle,lamina,other-lamina,spinous  transcribed M
pedicle                    -           pedicle,lamina                                          transcribed H
lamina                     -           lamina,pedicle,spinous                                  transcribed H
spinous                    -           spinous,lamina,other-lamina                             transcribed H
"""

PROPOSED_AT = [site for site in SITE_KEYS if site != "prostate-recurrence"]
"""Sites at which a dose may be proposed."""


def facts(site: str, ptv_ml: float = 12.0, uncertainty_mm: float = 2.0) -> TargetFacts:
    return TargetFacts(site, 2.0, ptv_ml, uncertainty_mm, diameter_mm=16.0)


def condition_of(row: Regimen) -> str:
    if row.listed_only:
        return "listed"
    when = row.when
    if when is None:
        return "proposed"
    parts = [
        f">{when.above_diameter_mm:g}mm" if when.above_diameter_mm is not None else "",
        f"<={when.max_diameter_mm:g}mm" if when.max_diameter_mm is not None else "",
        f"within-{when.max_uncertainty_mm:g}-mm" if when.max_uncertainty_mm is not None else "",
        "clear:" + "+".join(when.clear_of) + (f":{when.clear_mm:g}" if when.clear_mm else "") if when.clear_of else "",
    ]
    return ",".join(filter(None, parts))


def first_word(source: str) -> str:
    return source.split(maxsplit=1)[0].strip(",")


def test_every_regimen_stands_with_its_source_and_its_name(shipped: Protocol) -> None:
    found = [
        [
            key,
            f"{row.dose_gy:g}/{row.fractions}",
            Schedule(row.dose_gy, row.fractions).tg263_suffix.removeprefix("_"),
            first_word(row.source),
            row.basis,
            row.certainty,
            condition_of(row),
        ]
        for key, site in shipped.sites.items()
        for row in site.regimens
    ]
    expected = [line.split() for line in REGIMENS.strip().splitlines()]
    assert found == expected
    # A name holds the dose of one fraction: it multiplies back to the total.
    for _, schedule, name, *_ in expected:
        total, fractions = schedule.split("/")
        assert name == f"{round(100 * float(total) / int(fractions))}x{fractions}"


def test_a_single_fraction_asks_for_the_place_to_a_millimetre(shipped: Protocol) -> None:
    rows = [row for site in shipped.sites.values() for row in site.regimens if row.fractions == 1]

    assert rows
    assert all(row.when and row.when.max_uncertainty_mm == 1.0 for row in rows)


def test_every_margin_and_limit_stands_with_its_source(shipped: Protocol) -> None:
    found = []
    for key, site in shipped.sites.items():
        cells = [key]
        for row, value in (
            (site.gtv_to_ctv, str(site.gtv_to_ctv)),
            (site.ctv_to_ptv, str(site.ctv_to_ptv)),
            (site.max_uncertainty, f"{site.max_uncertainty.mm:g} mm"),
        ):
            cells += [value, first_word(row.source), row.certainty]
        found.append(" | ".join(cells))
        assert (site.max_volume.ptv_ml, site.max_volume.source) == (163.0, "RTOG 0813 and 0915 protocols")
        assert site.order.basis == "project-derived"
    assert found == MARGINS.strip().splitlines()


def test_every_site_asks_for_its_organs(shipped: Protocol) -> None:
    found = [[key, *site.asked.organs] for key, site in shipped.sites.items() if site.asked]
    assert found == [line.split() for line in ASKED.strip().splitlines()]


def test_every_organ_to_spare_stands_with_its_source(shipped: Protocol) -> None:
    expected = [line.split() for line in SPARED.strip().splitlines()]
    found = [(key, row) for key, site in shipped.sites.items() for row in site.spare]

    for (key, row), (*said, source, basis, certainty) in zip(found, expected, strict=True):
        stands_for = ",".join(row.stands_for) or "-"
        assert [key, row.organ, f"{row.gap_mm:g}", row.gtv_inside, stands_for] == said
        assert (first_word(row.source), row.basis, row.certainty) == (source, basis, certainty)


def test_the_consensus_on_sectors_stands_row_by_row(shipped: Protocol) -> None:
    sectors = shipped.sites["spine"].sectors
    assert sectors is not None
    found = [
        [",".join(row.gtv), row.extent or "-", ",".join(row.ctv), row.basis, row.certainty] for row in sectors.rules
    ]
    assert found == [line.split() for line in SECTOR_RULES.strip().splitlines()]
    assert all(row.source.startswith("Cox et al., ISRC consensus") for row in sectors.rules)
    assert (sectors.touched_ml, sectors.involved_ml) == (0.01, 0.1)
    assert (sectors.lateralised_part, sectors.diffuse_part) == (0.8, 0.5)
    assert [key for key, site in shipped.sites.items() if site.sectors] == ["spine"]


def test_the_rest_of_the_anatomy(shipped: Protocol) -> None:
    bone = shipped.sites["bone"].ctv_in_bone
    assert bone is not None
    assert (bone.breach_mm, bone.breach_part, bone.told_part) == (2.0, 0.05, 0.25)
    assert bone.source.startswith("Nguyen")
    assert [key for key, site in shipped.sites.items() if site.ctv_in_bone] == ["bone", "femur", "rib", "skull"]
    assert shipped.skin is not None
    assert (shipped.skin.ctv_mm, shipped.skin.ptv_mm, shipped.skin.gtv_in_air_part) == (0.0, 3.0, 0.1)
    assert (shipped.skin.basis, shipped.skin.certainty) == ("project-derived", "L")
    assert shipped.overlaps is not None
    assert (shipped.overlaps.least_ml, shipped.overlaps.targets) == (0.03, "keep-apart")
    assert shipped.overlaps.source.startswith("NRG-BR001")


def test_an_uncertainty_that_may_pass_is_covered_by_every_side_of_the_margin(shipped: Protocol) -> None:
    for site in shipped.sites.values():
        assert site.max_uncertainty.mm <= min(side for axis in site.ctv_to_ptv.lps_mm for side in axis)


def test_what_holds_for_all_sites(shipped: Protocol) -> None:
    assert shipped.status == "demo"
    assert not shipped.signer
    assert set(shipped.sites) == set(SITE_KEYS)
    assert [row.key for row in shipped.alpha_beta] == ["1.5", "3", "10"]
    assert (shipped.ablative_floor.bed_gy, shipped.ablative_floor.alpha_beta_gy) == (80.0, 3.0)
    assert shipped.ablative_floor.source.startswith("Triggiani")
    assert (shipped.targets.warn_above, shipped.targets.max) == (3, 5)


@pytest.mark.parametrize("site", PROPOSED_AT)
def test_each_site_gets_its_first_regimen_that_may_be_proposed(shipped: Protocol, site: str) -> None:
    outcome = propose(facts(site), shipped, targets=2)

    assert isinstance(outcome, Proposal)
    first = next(
        row for row in shipped.sites[site].regimens if not row.listed_only and not (row.when and row.when.clear_of)
    )
    assert outcome.schedule == Schedule(first.dose_gy, first.fractions)
    assert outcome.sources[0] == first.citation
    assert any("demonstration" in caution for caution in outcome.cautions)
    assert any(caution.startswith("Project-derived: ") for caution in outcome.cautions)


def test_a_recurrence_after_radiotherapy_is_never_proposed_a_dose(shipped: Protocol) -> None:
    outcome = propose(facts("prostate-recurrence"), shipped, targets=1)

    assert isinstance(outcome, Abstention)
    assert [reason.code for reason in outcome.reasons] == ["dose-no-regimen"]
    assert "30 Gy in 5: re-irradiation" in outcome.reasons[0].message


def test_a_lung_that_nobody_called_central_or_peripheral_has_no_rule(shipped: Protocol) -> None:
    outcome = propose(facts("lung"), shipped, targets=1)

    assert isinstance(outcome, Abstention)
    [reason] = outcome.reasons
    assert reason.code == "dose-site-undetermined"
    assert reason.message.endswith("rules for lung-peripheral and lung-central: the flag must say which.")


@pytest.mark.parametrize("site", PROPOSED_AT)
def test_each_site_abstains_beyond_each_of_its_limits(shipped: Protocol, site: str) -> None:
    limit_mm, limit_ml = shipped.sites[site].max_uncertainty.mm, shipped.sites[site].max_volume.ptv_ml

    assert isinstance(propose(facts(site, limit_ml, limit_mm), shipped, targets=5), Proposal)
    assert isinstance(propose(facts(site, limit_ml, limit_mm + 0.01), shipped, targets=5), Abstention)
    assert isinstance(propose(facts(site, limit_ml + 0.01, limit_mm), shipped, targets=5), Abstention)
    assert isinstance(propose(facts(site, limit_ml, limit_mm), shipped, targets=6), Abstention)


def test_no_ground_of_low_certainty_decides_unmarked(shipped: Protocol) -> None:
    for site in PROPOSED_AT:
        outcome = propose(facts(site), shipped, targets=2)
        assert isinstance(outcome, Proposal)
        for ground in outcome.grounds:
            marks = [caution for caution in outcome.cautions if caution.startswith("Low certainty: ")]
            assert (ground.certainty == "L") == any(ground.decides in mark for mark in marks)


def test_what_no_source_says_does_not_look_like_literature(shipped: Protocol) -> None:
    ours = [row for _, row in shipped.rows() if row.source == "project-derived"]

    assert len(ours) > 50
    assert all(row.basis == "project-derived" for row in ours)
    assert all(row.citation.startswith("project-derived, ") for row in ours)


def test_what_was_not_at_hand_says_so(shipped: Protocol) -> None:
    recalled = [row for _, row in shipped.rows() if row.basis == "recalled"]

    assert all(row.citation.endswith("(recalled)") for row in recalled)

"""docs/protocols.md says what the shipped tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from psdt_planner.protocol import SITE_KEYS, Protocol, Regimen

PAGE = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")


def section(site: str) -> str:
    return PAGE.split(f"### `{site}`\n")[1].split("\n### ")[0].split("\n## ")[0]


def use_of(row: Regimen) -> str:
    if row.listed_only:
        return f"listed only: {row.listed_only}"
    if row.when is None:
        return "proposed"
    when = row.when
    clear = f"clear of {', '.join(when.clear_of)}" + (f" by {when.clear_mm:g} mm" if when.clear_mm else "")
    parts = [
        f"above {when.above_diameter_mm:g} mm" if when.above_diameter_mm is not None else "",
        f"up to {when.max_diameter_mm:g} mm" if when.max_diameter_mm is not None else "",
        f"place known to {when.max_uncertainty_mm:g} mm" if when.max_uncertainty_mm is not None else "",
        clear if when.clear_of else "",
    ]
    return f"proposed where {', '.join(filter(None, parts))}"


def test_every_site_has_its_section_and_no_other_has() -> None:
    assert sorted(re.findall(r"^### `(.+)`$", PAGE, flags=re.MULTILINE)) == sorted(SITE_KEYS)


@pytest.mark.parametrize("site", SITE_KEYS)
def test_every_regimen_stands_there_in_order_with_use_source_and_certainty(shipped: Protocol, site: str) -> None:
    rows = [
        f"| {row.dose_gy:g} in {row.fractions} | `_{round(100 * row.dose_gy / row.fractions)}x{row.fractions}` "
        f"| {use_of(row)} | {row.citation} | {row.certainty} |"
        for row in shipped.sites[site].regimens
    ]
    assert [line for line in section(site).splitlines() if line.startswith("| ") and " in " in line[:14]][1:] == rows


@pytest.mark.parametrize("site", SITE_KEYS)
def test_every_margin_limit_and_organ_stands_there(shipped: Protocol, site: str) -> None:
    rule, text = shipped.sites[site], section(site)
    assert f"GTV to CTV {rule.gtv_to_ctv} ({rule.gtv_to_ctv.source.split(',')[0]})" in text
    assert f"CTV to PTV {rule.ctv_to_ptv} ({rule.ctv_to_ptv.source.split(',')[0]})" in text
    assert (
        f"no dose above {rule.max_uncertainty.mm:g} mm of uncertainty or {rule.max_volume.ptv_ml:g} ml of PTV" in text
    )
    assert rule.asked is not None
    assert f"Asks for {', '.join(rule.asked.organs)}." in text


def test_the_numbers_for_all_sites_stand_there(shipped: Protocol) -> None:
    assert shipped.falloff
    assert shipped.reirradiation
    assert shipped.lql
    text = " ".join(PAGE.split())
    for words in (
        f"more than {shipped.targets.max} targets",
        f"BED of {shipped.ablative_floor.bed_gy:g} Gy at α/β {shipped.ablative_floor.alpha_beta_gy:g} Gy",
        f"at α/β of {', '.join(row.key for row in shipped.alpha_beta)} Gy",
        f"From {shipped.lql.from_gy:g} Gy a fraction on",
        f"transition at {shipped.lql.transition_alpha_betas:g} times the α/β",
        f"takes {shipped.falloff.best.percent_per_mm:g} % of the prescription for each mm",
        f"down to {shipped.falloff.best.floor_percent:g} %",
        f"to at most {shipped.falloff.near_maximum.ml:g} ml",
        f"nearer than {shipped.falloff.contact.mm:g} mm",
        f"within {shipped.falloff.composite.within_mm:g} mm of each other",
        f"within {shipped.reirradiation.near.distance_mm:g} mm of an earlier",
        f"earlier {100 * shipped.reirradiation.near.isodose_part:g} % volume",
    ):
        assert words in text, words


def test_cumulative_limits_and_recovery_stand_there(shipped: Protocol) -> None:
    assert shipped.reirradiation
    text = " ".join(PAGE.split("## Earlier radiotherapy")[1].split("## Site by site")[0].split())
    for row in shipped.reirradiation.limits:
        assert f"{row.eqd2_gy:g}" in text
    for one in shipped.reirradiation.recovery[1:]:
        assert f"{100 * one.part:g} % from {one.from_months:g}" in text or f"{100 * one.part:g} % from" in text
    assert "of low certainty and off" in text


def test_the_order_of_sources_stands_there(shipped: Protocol) -> None:
    assert shipped.set_order
    assert shipped.set_order.sets == ("uk-2022", "tg-101")
    assert "An organ asks UK 2022 first and TG-101 where that has no value" in " ".join(PAGE.split())
    assert shipped.organs["SpinalCord"].sets == shipped.organs["ThecalSac"].sets == ("hytec", "uk-2022", "tg-101")
    assert shipped.organs["SpinalCanal"].sets == ("uk-2022", "hytec", "tg-101")
    low = {row.organ for row in shipped.sets["uk-2022"].rows if row.certainty == "L"}
    assert low == {"Duodenum", "Ureter", "OpticChiasm", "Lens"}

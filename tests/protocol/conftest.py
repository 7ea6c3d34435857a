"""A protocol of round numbers that no clinic uses, so that tests of the rules do not follow the shipped file."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from psdt_planner.protocol import Protocol, parse_protocol
from psdt_planner.shipped import shipped_protocol

CITED = 'source = "Book"\nplace = "Table 1"\nbasis = "read"\ncertainty = "H"\n'

ROUND_NUMBERS = f"""
schema = 1
title = "Round numbers"
status = "clinical"
signer = "A. Physicist"

[[alpha_beta]]
gy = 1.5
meaning = "tumour"
{CITED}
[[alpha_beta]]
gy = 3.0
meaning = "late"
{CITED}
[ablative_floor]
bed_gy = 80.0
alpha_beta_gy = 3.0
{CITED}
[targets]
warn_above = 3
max = 5
{CITED}
[sites.bone]
title = "Bone"

[sites.bone.gtv_to_ctv]
mm = 5.0
{CITED}
[sites.bone.ctv_to_ptv]
mm = 4.0
posterior_mm = 3.0
{CITED}
[sites.bone.max_uncertainty]
mm = 4.0
{CITED}
[sites.bone.max_volume]
ptv_ml = 100.0
{CITED}
[sites.bone.order]
{CITED}
[[sites.bone.regimens]]
dose_gy = 20.0
fractions = 1
{CITED}
[sites.bone.regimens.when]
max_uncertainty_mm = 1.0
max_ptv_ml = 20.0
{CITED}
[[sites.bone.regimens]]
dose_gy = 30.0
fractions = 3
{CITED}
[sites.bone.regimens.when]
max_ptv_ml = 50.0
{CITED}
[[sites.bone.regimens]]
dose_gy = 36.25
fractions = 5
{CITED}
[[sites.bone.regimens]]
dose_gy = 21.0
fractions = 3
listed_only = "below the floor"
{CITED}"""


@pytest.fixture
def text() -> str:
    return ROUND_NUMBERS


@pytest.fixture
def protocol(text: str) -> Protocol:
    return parse_protocol(text, "round")


@pytest.fixture
def changed(text: str) -> Callable[..., Protocol]:
    """The protocol with one place of its text changed; a place that is not there is a mistake of the test."""

    def parse(old: str, new: str, count: int = 1) -> Protocol:
        assert old in text, old
        return parse_protocol(text.replace(old, new, count), "round")

    return parse


@pytest.fixture(scope="session")
def shipped() -> Protocol:
    return shipped_protocol()

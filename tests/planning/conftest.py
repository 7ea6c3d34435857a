"""The shipped protocol, which the tests of planning change row by row."""

from __future__ import annotations

import pytest

from psdt_planner.protocol import Protocol
from psdt_planner.shipped import shipped_protocol


@pytest.fixture(scope="session")
def protocol() -> Protocol:
    return shipped_protocol()

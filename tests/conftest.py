"""What every test shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from tests.postgres import start_postgresql

# The machine may be busy: no deadline. Examples follow from the test alone, so that a red test is red again.
settings.register_profile("psdt", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("psdt")


@pytest.fixture(scope="session")
def new_postgresql_database() -> Iterator[Callable[[], str]]:
    """Makes an empty PostgreSQL database each time it is called, and returns its URL."""
    with start_postgresql() as create:
        yield create

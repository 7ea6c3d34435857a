"""What every test shares."""

from __future__ import annotations

from hypothesis import settings

# The machine may be busy: no deadline. Examples follow from the test alone, so that a red test is red again.
settings.register_profile("psdt", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("psdt")

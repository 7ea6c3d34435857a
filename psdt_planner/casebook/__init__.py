"""The casebook: every event of every case, in a database, never changed. A case is what its events make of it."""

from psdt_planner.casebook.book import Casebook, Recorded
from psdt_planner.casebook.copies import back_up, restore

__all__ = ["Casebook", "Recorded", "back_up", "restore"]

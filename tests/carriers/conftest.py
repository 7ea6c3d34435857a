"""The plan of the report's tests: three lesions with a dose, one without."""

from tests.report.conftest import exam, plan, protocol

__all__ = ["exam", "plan", "protocol"]

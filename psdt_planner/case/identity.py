"""Whose objects these are: all objects of a case must tell one patient, and nobody may have changed it on the way.

Objects come with keyed hashes of what they tell; they are only compared.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection

from psdt_planner.case.events import Item
from psdt_planner.findings import Finding, Level, Who


def keyed_hash(salt: bytes, *values: str) -> str:
    """96 bits of a keyed hash of values, in hexadecimal digits; empty where all of them are."""
    return hmac.digest(salt, "\0".join(values).encode(), "sha256").hex()[:24] if any(values) else ""


def doubts(known: Collection[Item], news: Collection[Item]) -> tuple[Finding, ...]:
    """What new objects give to doubt about the patient beside those that are known.

    A difference is told once: what a person has looked at and reopened does not hold the case again.
    """
    told = (("birth date", "born"), ("name", "name"))
    found = [_differs(words, _values(known, what), news, what) for words, what in told]
    return tuple(finding for finding in (*found, _coerced(known, news)) if finding is not None)


def _differs(words: str, before: set[str], news: Collection[Item], what: str) -> Finding | None:
    values = _values(news, what)
    if not values - before or len(before | values) < 2:
        return None
    (odd, *_) = sorted(item.sop_instance_uid for item in news if _value(item, what) in values - before)
    message = f"objects of one Patient ID tell {len(before | values)} values of the {words}, such as [{odd}]"
    return Finding("patient-inconsistent", Level.HOLD, message, Who.SENDER, value=len(before | values))


def _coerced(known: Collection[Item], news: Collection[Item]) -> Finding | None:
    fresh = _values(news, "was") - _values(known, "was")
    if not fresh:
        return None
    (odd, *_) = sorted(item.sop_instance_uid for item in news if _value(item, "was") in fresh)
    message = f"the patient's identity was coerced on the way here: the object tells another one it had before [{odd}]"
    return Finding("patient-coerced", Level.HOLD, message, Who.SENDER)


def _values(items: Collection[Item], what: str) -> set[str]:
    return {_value(item, what) for item in items} - {""}


def _value(item: Item, what: str) -> str:
    return "" if item.facts is None else str(getattr(item.facts, what))

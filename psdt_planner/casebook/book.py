"""Events by case: added, replayed, listed."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dicom_nodes.database import writing
from psdt_planner.case import EVENT_KINDS, Case, Conflicted, Event, Received, advance
from psdt_planner.casebook.tables import NAME, Constant, Position, StoredEvent, open_tables
from psdt_planner.errors import ConfigurationError, FaultError, InputError

ATTEMPTS = 20
"""How often an event is offered again where another process has added one to the same case in between."""

ADAPTERS: Mapping[str, TypeAdapter[Event]] = {kind: TypeAdapter(cls) for kind, cls in EVENT_KINDS.items()}
KIND_OF: Mapping[type[Event], str] = {cls: kind for kind, cls in EVENT_KINDS.items()}


@dataclass(frozen=True)
class Recorded:
    """One event as it stands in the casebook; ``number`` is larger than that of every event before it."""

    number: int
    case_id: str
    event: Event


class Casebook:
    """Events by case, in a database named by an SQLAlchemy URL; several processes may use it at once.

    Args:
        salt: key of the hash that makes case ids, for a casebook that is not there yet; drawn where it is empty.
    """

    def __init__(self, url: str, salt: str = "") -> None:
        self._engine = open_tables(url)
        self._known: dict[str, Case] = {}
        self.salt = self._constant("salt", salt or secrets.token_hex(16)).encode()

    def append(self, case_id: str, happened: Event) -> Case:
        """Add an event and return the case after it. When this returns, the event survives a power cut.

        Only objects that came in open a case. Where another process adds an event in between, this one is weighed again
        against the case as it then is.

        Raises:
            CaseStateError: the event may not happen in the state of the case; nothing is added.
            InputError: there is no such case.
        """
        for _ in range(ATTEMPTS):
            before = self.find(case_id)
            if before.version == 0 and not isinstance(happened, Received | Conflicted):
                raise _no_such_case(case_id)
            after, _actions = advance(before, happened)
            kind = KIND_OF[type(happened)]
            payload = ADAPTERS[kind].dump_json(happened).decode()
            row = {
                "case_id": case_id,
                "sequence": after.version,
                "at_s": happened.at_s,
                "kind": kind,
                "payload": payload,
            }
            try:
                with writing(self._engine, NAME) as connection:
                    connection.execute(insert(StoredEvent), [{**row, "payload": payload}])
            except IntegrityError:
                continue
            self._known[case_id] = after
            return after
        raise FaultError("the case does not come to rest: others keep adding events", where=case_id)

    def replay(self, case_id: str) -> Case:
        """The case from all its events; ``InputError`` where there is no such case."""
        case = Case(case_id)
        for happened in self.history(case_id):
            case, _actions = advance(case, happened)
        return case

    def case(self, case_id: str) -> Case:
        """The case as it is now, with the events that other processes added; ``InputError`` where there is none."""
        case = self.find(case_id)
        if case.version == 0:
            raise _no_such_case(case_id)
        return case

    def find(self, case_id: str) -> Case:
        """As ``case``, but version 0 where there is no such case yet."""
        case = self._known.get(case_id, Case(case_id))
        for happened in self._events_after(case_id, case.version):
            case, _actions = advance(case, happened)
        if case.version:
            self._known[case_id] = case
        return case

    def history(self, case_id: str) -> tuple[Event, ...]:
        """The events of a case in their order; ``InputError`` where there is no such case."""
        events = self._events_after(case_id, 0)
        if not events:
            raise _no_such_case(case_id)
        return events

    def cases(self) -> tuple[Case, ...]:
        """All cases as they are now, in the order in which they began."""
        query = (
            select(StoredEvent.case_id, func.max(StoredEvent.sequence))
            .group_by(StoredEvent.case_id)
            .order_by(func.min(StoredEvent.number))
        )
        with Session(self._engine) as session:
            latest = {row[0]: row[1] for row in session.execute(query)}
        known = self._known
        return tuple(
            known[case_id] if case_id in known and known[case_id].version == version else self.find(case_id)
            for case_id, version in latest.items()
        )

    def since(self, number: int, limit: int = 1000) -> tuple[Recorded, ...]:
        """The events after a number in their order, of whatever case, the first ``limit`` of them."""
        query = select(StoredEvent).where(StoredEvent.number > number).order_by(StoredEvent.number).limit(limit)
        with Session(self._engine) as session:
            return tuple(Recorded(row.number, row.case_id, _read(row)) for row in session.scalars(query))

    def position(self, name: str) -> int:
        """How far a reader of that name has come; 0 before it began."""
        with Session(self._engine) as session:
            return session.scalar(select(Position.number).where(Position.name == name)) or 0

    def keep_position(self, name: str, number: int) -> None:
        """Keep how far a reader has come."""
        with Session(self._engine) as session, session.begin():
            session.merge(Position(name=name, number=number))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _events_after(self, case_id: str, version: int) -> tuple[Event, ...]:
        query = (
            select(StoredEvent)
            .where(StoredEvent.case_id == case_id, StoredEvent.sequence > version)
            .order_by(StoredEvent.sequence)
        )
        with Session(self._engine) as session:
            return tuple(_read(row) for row in session.scalars(query))

    def _constant(self, name: str, value: str) -> str:
        """The constant of that name; ``value`` where it was not set before."""
        try:
            with Session(self._engine) as session, session.begin():
                session.add(Constant(name=name, value=value))
        except IntegrityError:
            with Session(self._engine) as session:
                return session.scalars(select(Constant.value).where(Constant.name == name)).one()
        return value


def _read(row: StoredEvent) -> Event:
    if row.kind not in ADAPTERS:
        raise ConfigurationError(
            f"the casebook holds an event of kind {row.kind!r} that this psdt does not know",
            where=row.case_id,
            todo="It was written by a newer psdt: use that one.",
        )
    return ADAPTERS[row.kind].validate_json(row.payload)


def _no_such_case(case_id: str) -> InputError:
    return InputError(f"there is no case {case_id!r}", todo="See psdt cases.")

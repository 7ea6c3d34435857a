"""What a case is made of: every series with the part it plays, told by kinds, references and frames, never by names.

Nothing is decided here about clinical use: the plan reads the objects themselves and holds what it doubts. Here a case
only learns what is there and what it has to wait for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from psdt_planner.case.events import Item
from psdt_planner.images import Kind


class Role(StrEnum):
    """The part that a series plays in a case."""

    PLANNING_CT = "planning-ct"
    OTHER_CT = "other-ct"
    """A CT in whose frame an earlier dose lies, beside a CT in whose frame none does."""
    DWI = "dwi"
    MR = "mr"
    """An anatomical or other series of the MR exam."""
    FLAGS = "flags"
    REGISTRATION = "registration"
    ORGANS = "organs"
    PRIOR_EXAM = "prior-exam"
    """An MR series of an older study than the newest."""
    PRIOR_FLAGS = "prior-flags"
    PRIOR_PLAN = "prior-plan"
    PRIOR_DOSE = "prior-dose"
    OTHER = "other"


WORDS: Mapping[Role, str] = {
    Role.PLANNING_CT: "a CT series",
    Role.OTHER_CT: "the CT of an earlier course",
    Role.DWI: "a diffusion series (DWI or ADC)",
    Role.MR: "an anatomical MR series",
    Role.FLAGS: "flags (SEG, SR or RTSTRUCT on the MR)",
    Role.REGISTRATION: "a registration object",
    Role.ORGANS: "organs (RTSTRUCT on the CT)",
    Role.PRIOR_EXAM: "a prior MR exam",
    Role.PRIOR_FLAGS: "flags on a prior exam",
    Role.PRIOR_PLAN: "an RTPLAN of an earlier course",
    Role.PRIOR_DOSE: "an RTDOSE of an earlier course",
    Role.OTHER: "another object",
}

DEFAULT_REQUIRED = (Role.PLANNING_CT, Role.DWI, Role.FLAGS)

DIFFUSION = frozenset({Kind.DWI, Kind.DWI_TRACE, Kind.ADC, Kind.DWI_CALCULATED})
MR_KINDS = DIFFUSION | {
    Kind.T1,
    Kind.T2,
    Kind.DIXON_IN,
    Kind.DIXON_OUT,
    Kind.DIXON_WATER,
    Kind.DIXON_FAT,
    Kind.MR_OTHER,
}
MARKING = frozenset({Kind.SEG, Kind.SR, Kind.RTSTRUCT})
KIND_OF_MODALITY = {"CT": Kind.CT, "MR": Kind.DWI, "SEG": Kind.SEG, "RTSTRUCT": Kind.RTSTRUCT, "SR": Kind.SR}
"""For objects whose facts an older psdt did not keep: it took any MR for the exam."""


@dataclass(frozen=True)
class Part:
    """One series of a case.

    Attributes:
        objects: how many came in.
        b_values_s_per_mm2: number of objects by b-value, ascending.
        frames: of reference, that its objects lie in or tie together.
        refers_to: series of the case that its objects refer to.
        absent: series, frames and objects that they refer to, and without which they mean nothing, that are not there.
    """

    role: Role
    kind: Kind
    series_instance_uid: str
    objects: int
    b_values_s_per_mm2: tuple[tuple[float, int], ...]
    frames: tuple[str, ...]
    refers_to: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True)
class _Series:
    """The objects of one series, put together."""

    uid: str
    kind: Kind
    items: tuple[Item, ...]
    frames: frozenset[str]
    named: frozenset[str]  # series
    objects: frozenset[str]  # SOP instances
    day: int | None


def parts(items: Iterable[Item]) -> tuple[Part, ...]:
    """The series of a case with their roles, ordered by role and UID."""
    series = _series(items)
    roles = _roles(series)
    held = {item.sop_instance_uid for one in series.values() for item in one.items}
    made = [
        Part(
            role=roles[uid],
            kind=one.kind,
            series_instance_uid=uid,
            objects=len(one.items),
            b_values_s_per_mm2=_b_values(one.items),
            frames=tuple(sorted(one.frames)),
            refers_to=tuple(sorted(one.named & series.keys())),
            absent=_absent(one, series, held),
        )
        for uid, one in series.items()
    ]
    order = list(Role)
    return tuple(sorted(made, key=lambda part: (order.index(part.role), part.series_instance_uid)))


def lacking(items: Sequence[Item], required: Iterable[Role]) -> tuple[str, ...]:
    """What a set still waits for, in words: required roles, a patient's ID, and what its objects refer to."""
    made = parts(items)
    there = {part.role for part in made}
    lacks = [WORDS[role] for role in required if role not in there]
    if any(not item.patient_known for item in items):
        lacks.append("a Patient ID on every object")
    lacks += sorted({f"{absent}, which {part.kind} refers to" for part in made for absent in part.absent})
    return tuple(lacks)


def _series(items: Iterable[Item]) -> dict[str, _Series]:
    grouped: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        grouped[item.series_instance_uid].append(item)
    return {uid: _together(uid, tuple(theirs)) for uid, theirs in grouped.items()}


def _together(uid: str, items: tuple[Item, ...]) -> _Series:
    facts = [item.facts for item in items if item.facts is not None]
    own = {item.frame_of_reference_uid for item in items}
    days = [one.day for one in facts if one.day is not None]
    return _Series(
        uid=uid,
        kind=_kind(items),
        items=items,
        frames=frozenset(own.union(*(one.frames for one in facts)) - {""}),
        named=frozenset(name for one in facts for name in one.series),
        objects=frozenset(name for one in facts for name in one.objects),
        day=min(days, default=None),
    )


def _kind(items: Sequence[Item]) -> Kind:
    """What most objects of the series are; one diffusion image makes a diffusion series, b = 0 looks like any other."""
    counts = Counter(kind_of(item) for item in items)
    diffusion = {kind: count for kind, count in counts.items() if kind in DIFFUSION}
    return max(diffusion or counts, key=lambda kind: (counts[kind], kind))


def kind_of(item: Item) -> Kind:
    """What one object is."""
    return KIND_OF_MODALITY.get(item.modality, Kind.OTHER) if item.facts is None else Kind(item.facts.kind)


def _roles(series: Mapping[str, _Series]) -> dict[str, Role]:
    mr = {uid: one for uid, one in series.items() if one.kind in MR_KINDS}
    newest = max((one.day for one in mr.values() if one.day is not None), default=None)
    prior = {uid for uid, one in mr.items() if one.day is not None and newest is not None and one.day < newest}
    roles = {uid: _image_role(one, series, prior) for uid, one in series.items()}
    for kind in (Kind.SEG, Kind.SR, Kind.RTSTRUCT):  # a report may refer to a SEG instead of the images
        for uid, one in series.items():
            if one.kind is kind:
                roles[uid] = _marking_role(one, series, roles)
    return roles


def _image_role(one: _Series, series: Mapping[str, _Series], prior: set[str]) -> Role:
    if one.kind is Kind.CT:
        dosed = frozenset[str]().union(*(other.frames for other in series.values() if other.kind is Kind.RTDOSE))
        free = any(other.kind is Kind.CT and not other.frames & dosed for other in series.values())
        return Role.OTHER_CT if one.frames & dosed and free else Role.PLANNING_CT
    if one.kind in MR_KINDS:
        current = Role.DWI if one.kind in DIFFUSION else Role.MR
        return Role.PRIOR_EXAM if one.uid in prior else current
    plain = {Kind.REGISTRATION: Role.REGISTRATION, Kind.RTDOSE: Role.PRIOR_DOSE, Kind.RTPLAN: Role.PRIOR_PLAN}
    return plain.get(one.kind, Role.OTHER)


def _marking_role(one: _Series, series: Mapping[str, _Series], roles: Mapping[str, Role]) -> Role:
    """By what the marks were drawn on: MR makes flags, CT organs. What refers to nothing that is here is no structure
    set's flags yet, but a SEG or a report without any reference still may be: the plan says so.
    """
    drawn_on = {roles[uid] for uid in one.named if uid in roles and uid != one.uid}
    if not drawn_on:
        images = {uid: other for uid, other in series.items() if other.kind in MR_KINDS | {Kind.CT}}
        drawn_on = {roles[uid] for uid, other in images.items() if other.frames & one.frames}
    if drawn_on & {Role.DWI, Role.MR, Role.FLAGS}:
        return Role.FLAGS
    if drawn_on & {Role.PRIOR_EXAM, Role.PRIOR_FLAGS}:
        return Role.PRIOR_FLAGS
    if drawn_on & {Role.PLANNING_CT, Role.OTHER_CT}:
        return Role.ORGANS
    return Role.OTHER if one.named or one.frames else Role.FLAGS


def _absent(one: _Series, series: Mapping[str, _Series], held: set[str]) -> tuple[str, ...]:
    """What the series cannot do without and is not there yet, in words with its UID."""
    images = {frame for other in series.values() if other.kind in MR_KINDS | {Kind.CT} for frame in other.frames}
    unknown = [f"series {name}" for name in sorted(one.named - series.keys())]
    if one.kind in {Kind.SEG, Kind.SR}:
        return tuple(unknown)
    if one.kind is Kind.RTSTRUCT:
        placed = one.named & series.keys() or one.frames & images
        return () if placed else tuple(unknown)
    if one.kind is Kind.REGISTRATION:
        away = sorted(one.frames - images)
        return tuple(f"an image in frame {frame}" for frame in away) if len(one.frames & images) < 2 else ()
    if one.kind is Kind.RTDOSE:
        return tuple(f"object {name}" for name in sorted(one.objects - held))
    return ()


def _b_values(items: Iterable[Item]) -> tuple[tuple[float, int], ...]:
    counts: Counter[float] = Counter()
    for item in items:
        counts.update(item.facts.b_values_s_per_mm2 if item.facts is not None else ())
    return tuple(sorted(counts.items()))

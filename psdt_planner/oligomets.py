"""Genuine or induced oligometastatic disease, and which of the nine ESTRO/EORTC states, from facts alone.

Every answer says which facts it used and which are missing. A missing fact is never taken for "no": what depends on it
is undetermined. The states are those of Guckenberger et al., Lancet Oncol 2020;21:e18-e28; genuine and induced those of
Yoshida et al., Int Urol Nephrol 2021, doi 10.1007/s11255-020-02762-x, read as: without or with polymetastatic disease
before the present oligoprogression.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from psdt_planner.criteria import Criteria, PsaProgression
from psdt_planner.findings import Finding, Level, Who
from psdt_planner.history import History, Psa, TherapyKind

POLYMETASTATIC: Final = "history of polymetastatic disease"
OLIGOMETASTATIC: Final = "history of oligometastatic disease"
DIAGNOSIS: Final = "date of the primary diagnosis"
SINCE: Final = "date of the first diagnosis of the present oligometastatic disease"
THERAPY: Final = "systemic therapy at present"
TESTOSTERONE: Final = "serum testosterone"
DEPRIVATION: Final = "start of the androgen deprivation"
PSA: Final = "PSA series"
IMAGES: Final = "whether there was progression on images"
LESIONS: Final = "flagged lesions"

WITHOUT_HISTORY: Final = (POLYMETASTATIC, OLIGOMETASTATIC, DIAGNOSIS, THERAPY, TESTOSTERONE, PSA)
"""What is missing where there is no history at all."""


class OmCrpc(StrEnum):
    """Oligometastatic castration-resistant prostate cancer, as the paper divides it."""

    GENUINE = "genuine"
    INDUCED = "induced"
    UNDETERMINED = "undetermined"


class State(StrEnum):
    """The nine states of the ESTRO/EORTC classification, and what is none of them."""

    SYNCHRONOUS = "Synchronous oligometastatic disease"
    METACHRONOUS_RECURRENCE = "Metachronous oligorecurrence"
    METACHRONOUS_PROGRESSION = "Metachronous oligoprogression"
    REPEAT_RECURRENCE = "Repeat oligorecurrence"
    REPEAT_PROGRESSION = "Repeat oligoprogression"
    REPEAT_PERSISTENCE = "Repeat oligopersistence"
    INDUCED_RECURRENCE = "Induced oligorecurrence"
    INDUCED_PROGRESSION = "Induced oligoprogression"
    INDUCED_PERSISTENCE = "Induced oligopersistence"
    UNCLASSIFIABLE = "unclassifiable"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True)
class Sites:
    """How many lesions there are now.

    Attributes:
        flagged: all that the reader flagged.
        progressive: of these, by the reader's word or the time-line.
        limit: the protocol's largest number of progressive sites (its table ``targets``).
    """

    flagged: int
    progressive: int
    limit: int


@dataclass(frozen=True)
class Fact:
    """An answer: yes, no, or None where facts are missing; with the facts it used."""

    answer: bool | None
    used: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Classification:
    """What kind of oligometastatic disease this is, as far as the facts tell.

    Attributes:
        om_crpc: genuine or induced; undetermined unless the disease is castration-resistant and oligoprogressive.
        estro_eortc: one of the nine states.
        castration_resistant: None where facts are missing.
        progressive_sites: number of progressive sites.
        facts_used: in words, in the order in which they were asked.
        facts_missing: what more would be needed.
        reasons: why there is no answer though no fact is missing.
        findings: for the case.
    """

    om_crpc: OmCrpc
    estro_eortc: State
    castration_resistant: bool | None
    progressive_sites: int
    facts_used: tuple[str, ...]
    facts_missing: tuple[str, ...]
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, object]:
        """As ``classification`` of plan.json."""
        return {
            "om_crpc": self.om_crpc.value,
            "estro_eortc": self.estro_eortc.value,
            "castration_resistant": self.castration_resistant,
            "progressive_sites": self.progressive_sites,
            "facts_used": list(self.facts_used),
            "facts_missing": list(self.facts_missing),
            "reasons": list(self.reasons),
        }


def classify(history: History | None, sites: Sites, criteria: Criteria) -> Classification:
    """Genuine or induced, and the ESTRO/EORTC state; without a history both are undetermined."""
    counted = (f"progressive sites: {sites.progressive} of {sites.flagged} flagged",) if sites.flagged else ()
    if history is None:
        undetermined = OmCrpc.UNDETERMINED, State.UNDETERMINED
        return Classification(*undetermined, None, sites.progressive, counted, WITHOUT_HISTORY, (), ())
    state, asked, why_no_state = _state(history, sites, criteria)
    resistant = castration_resistant(history, criteria)
    om_crpc, why_not = _om_crpc(history, sites, resistant)
    facts = [*asked, _polymetastatic(history), resistant]
    missing = _once(word for fact in facts for word in fact.missing)
    if not sites.flagged:
        missing = (LESIONS, *missing)
    return Classification(
        om_crpc=om_crpc,
        estro_eortc=state,
        castration_resistant=resistant.answer,
        progressive_sites=sites.progressive,
        facts_used=(*counted, *_once(word for fact in facts for word in fact.used)),
        facts_missing=missing,
        reasons=_once((*why_no_state, *why_not)),
        findings=tuple(_findings(history, resistant, missing)),
    )


def _once(words: Iterator[str] | Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _findings(history: History, resistant: Fact, missing: Sequence[str]) -> Iterator[Finding]:
    if resistant.answer is False:
        message = f"By the history the disease is not castration-resistant: {'; '.join(resistant.used)}."
        yield Finding("crpc-not-met", Level.WARN, message, who=Who.PERSON)
    if missing:
        message = f"Facts are missing to tell the kind of oligometastatic disease: {', '.join(missing)}."
        yield Finding("history-incomplete", Level.WARN, message, who=Who.CLINIC)
    if history.unread:
        message = f"Not used of {history.name}: {'; '.join(history.unread)}."
        yield Finding("history-entry-unread", Level.WARN, message, who=Who.SENDER)


# ---------------------------------------------------------------------------------------------------------------------
# The questions
# ---------------------------------------------------------------------------------------------------------------------


def _state(history: History, sites: Sites, criteria: Criteria) -> tuple[State, list[Fact], tuple[str, ...]]:
    """Five questions in order, as the paper asks them; those that no longer matter are not asked."""
    if not sites.flagged:
        return State.UNDETERMINED, [], ()
    if sites.progressive > sites.limit:
        return State.UNCLASSIFIABLE, [], (f"more than {sites.limit} progressive sites: not oligometastatic",)
    asked: list[Fact] = []
    for question, branch in ((_polymetastatic, "induced"), (_oligometastatic, "repeat")):
        asked.append(question(history))
        if asked[-1].answer:
            return _by_therapy(branch, history, sites, asked)
        if asked[-1].answer is None:
            return State.UNDETERMINED, asked, ()
    asked.append(_synchronous(history, criteria))
    if asked[-1].answer is False:
        return _by_therapy("metachronous", history, sites, asked)
    return State.UNDETERMINED if asked[-1].answer is None else State.SYNCHRONOUS, asked, ()


BRANCHES: Final = {
    "metachronous": (State.METACHRONOUS_RECURRENCE, State.METACHRONOUS_PROGRESSION, State.UNCLASSIFIABLE),
    "repeat": (State.REPEAT_RECURRENCE, State.REPEAT_PROGRESSION, State.REPEAT_PERSISTENCE),
    "induced": (State.INDUCED_RECURRENCE, State.INDUCED_PROGRESSION, State.INDUCED_PERSISTENCE),
}
"""Off therapy; on therapy and progressing; on therapy and not. The paper has no metachronous oligopersistence."""


def _by_therapy(
    branch: str, history: History, sites: Sites, asked: list[Fact]
) -> tuple[State, list[Fact], tuple[str, ...]]:
    therapy = systemic_therapy(history)
    asked.append(therapy)
    recurrence, progression, persistence = BRANCHES[branch]
    if therapy.answer is None:
        return State.UNDETERMINED, asked, ()
    state = recurrence if not therapy.answer else progression if sites.progressive else persistence
    none = "metachronous, on systemic therapy and nothing progressive: the classification has no state for it"
    return state, asked, (none,) if state is State.UNCLASSIFIABLE else ()


def _om_crpc(history: History, sites: Sites, resistant: Fact) -> tuple[OmCrpc, tuple[str, ...]]:
    reasons = []
    if resistant.answer is False:
        reasons.append("genuine or induced is asked of castration-resistant disease only")
    if not sites.progressive:
        reasons.append("no progressive site")
    if sites.progressive > sites.limit:
        reasons.append(f"more than {sites.limit} progressive sites: not oligometastatic")
    induced = history.disease.polymetastatic
    if reasons or induced is None or resistant.answer is None:
        return OmCrpc.UNDETERMINED, tuple(reasons)
    return OmCrpc.INDUCED if induced else OmCrpc.GENUINE, ()


def _polymetastatic(history: History) -> Fact:
    return _told(history.disease.polymetastatic, POLYMETASTATIC)


def _oligometastatic(history: History) -> Fact:
    return _told(history.disease.oligometastatic, OLIGOMETASTATIC)


def _told(answer: bool | None, name: str) -> Fact:
    if answer is None:
        return Fact(None, missing=(name,))
    return Fact(answer, used=(f"{name}: {'yes' if answer else 'no'}",))


def _synchronous(history: History, criteria: Criteria) -> Fact:
    """Whether metastases were found within so many months of the diagnosis; the last day still counts.

    Where nobody says when they were found, the day of the exam is late enough to prove them synchronous, and no more.
    """
    if history.diagnosis is None:
        return Fact(None, missing=(DIAGNOSIS,))
    months = criteria.synchronous.within_months
    last = months_later(history.diagnosis.date, months)
    since = history.disease.oligometastatic_since
    used = f"{DIAGNOSIS}: {history.diagnosis.date}"
    if since is None and history.reference_date > last:
        return Fact(None, (used,), (SINCE,))
    found = since or history.reference_date
    order = "within" if found <= last else "more than"
    return Fact(found <= last, (used, f"{SINCE}: {found}, {order} {months} months after the primary diagnosis"))


def months_later(day: date, months: int) -> date:
    """The same day so many calendar months later, or the last of a month that is too short for it."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def systemic_therapy(history: History) -> Fact:
    """Whether the patient is under systemic therapy of the cancer; androgen deprivation is one."""
    if history.therapies is None:
        return Fact(None, missing=(THERAPY,))
    going_on = [therapy.name for therapy in history.therapies if therapy.goes_on]
    if going_on:
        return Fact(True, (f"{THERAPY}: {', '.join(going_on)}",))
    unclear = [therapy.name for therapy in history.therapies if therapy.goes_on is None]
    if unclear or not history.therapies_complete:
        name = f"{THERAPY} (whether {', '.join(unclear)} goes on)" if unclear else THERAPY
        return Fact(None, missing=(name,))
    return Fact(False, (f"{THERAPY}: none",))


# ---------------------------------------------------------------------------------------------------------------------
# Castration resistance
# ---------------------------------------------------------------------------------------------------------------------


def castration_resistant(history: History, criteria: Criteria) -> Fact:
    """Castrate testosterone by a value of these months, and progression of PSA or on images since deprivation began."""
    castrate = _castrate(history, criteria)
    if castrate.answer is False:
        return castrate
    ways = [_progression_on_images(history), _psa_progression(history, criteria.psa_progression)]
    met = next((way for way in ways if way.answer), None)
    if met:
        return Fact(castrate.answer, (*castrate.used, *met.used), castrate.missing)
    used = (*castrate.used, *(word for way in ways for word in way.used))
    missing = (*castrate.missing, *(word for way in ways for word in way.missing))
    return Fact(None if missing else False, used, missing)


def _castrate(history: History, criteria: Criteria) -> Fact:
    """By the last value before the exam; one from before the present deprivation, or too old, tells nothing of now."""
    if not history.testosterone:
        return Fact(None, missing=(TESTOSTERONE,))
    last, rule = max(history.testosterone, key=lambda value: value.date), criteria.castration
    oldest = history.reference_date - timedelta(days=criteria.testosterone_age.within_days)
    if last.date < oldest:
        days = criteria.testosterone_age.within_days
        return Fact(None, missing=(f"{TESTOSTERONE} (the last is of {last.date}, more than {days} days before)",))
    start = _deprived_since(history)
    if start is not None and last.date < start:
        told = f"{TESTOSTERONE} (the last is of {last.date}, before androgen deprivation began on {start})"
        return Fact(None, missing=(told,))
    castrate = last.is_below(ng_per_dl=rule.testosterone_below_ng_per_dl, nmol_per_l=rule.testosterone_below_nmol_per_l)
    level = f"{'below ' if last.below else ''}{last.value:g} {last.unit} on {last.date}"
    return Fact(castrate, (f"{TESTOSTERONE}: {level}, {'castrate' if castrate else 'not castrate'}",))


def _progression_on_images(history: History) -> Fact:
    """What was found on the day that deprivation began, or before, was its reason and says nothing of resistance."""
    if history.radiographic_progression is None:
        return Fact(None, missing=(IMAGES,))
    if not history.radiographic_progression:
        return Fact(False, ("progression on images: none",))
    start = _deprived_since(history)
    if start is None:
        return Fact(None, missing=(DEPRIVATION,))
    last = max(history.radiographic_progression, key=lambda one: one.date)
    told = f"progression on images: {last.finding}, {last.date}"
    if last.date > start:
        return Fact(True, (f"{told}, under androgen deprivation since {start}",))
    return Fact(False, (f"{told}, not after androgen deprivation began on {start}",))


def _psa_progression(history: History, rule: PsaProgression) -> Fact:
    """Rises before castration say nothing of its resistance, so that its start must be known."""
    if history.psa is None:
        return Fact(None, missing=(PSA,))
    start = _deprived_since(history)
    if start is None:
        return Fact(None, missing=(DEPRIVATION,))
    since = sorted((value for value in history.psa if value.date >= start), key=lambda value: value.date)
    if len(since) <= rule.rises:
        told = f"{PSA} ({len(since)} values since {start}; {rule.rises + 1} are needed for {rule.rises} rises)"
        return Fact(None, missing=(told,))
    day = psa_progressed(since, rule)
    if day is None:
        return Fact(False, (f"PSA has not progressed since {start} ({len(since)} values)",))
    return Fact(True, (f"PSA progressed by {day}, under androgen deprivation since {start}",))


def _deprived_since(history: History) -> date | None:
    """When the present androgen deprivation began: drugs that follow each other without a gap are one."""
    given = [one for one in history.therapies or () if one.kind is TherapyKind.ADT and one.start is not None]
    start = min((one.start for one in given if one.goes_on and one.start), default=None)
    for one in sorted(given, key=lambda one: one.start or date.min, reverse=True):
        if start and one.start and one.start < start and one.end and one.end >= start:
            start = one.start
    return start


def psa_progressed(values: Sequence[Psa], rule: PsaProgression) -> date | None:
    """The day on which a PSA series, in order of time, has risen often, far apart and high enough; None if never.

    A value that rose sooner than `PsaProgression.apart_days` after the last is passed over; one that did not rise
    begins anew. The nadir is the lowest value so far.
    """
    last, nadir, run = values[0], values[0].ng_per_ml, list[float]()
    for value in values[1:]:
        rose = value.ng_per_ml > last.ng_per_ml
        if rose and (value.date - last.date).days < rule.apart_days:
            continue
        run = [*run, value.ng_per_ml] if rose else []
        last, nadir = value, min(nadir, value.ng_per_ml)
        high = sum(one >= nadir * (1.0 + rule.over_nadir_percent / 100.0) for one in run)
        if len(run) >= rule.rises and high >= rule.high_values and last.ng_per_ml > rule.above_ng_per_ml:
            return last.date
    return None

"""Will it open, and is it right: complaints about any vendor's RTSTRUCT, beside the images it was drawn on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from psdt_planner.destination import Destination
from psdt_planner.dicom.image_planes import ImageSeries
from psdt_planner.dicom.rtstruct_file import StructureSetFile
from psdt_planner.lint.codes import CODES, Code, Complaint, Level
from psdt_planner.lint.destined import DECIDED, for_destination
from psdt_planner.lint.in_place import is_in_place, series_of
from psdt_planner.lint.is_it_right import gaps, is_it_right
from psdt_planner.lint.planes import lay
from psdt_planner.lint.will_it_open import will_it_open

ORDER = (Level.ERROR, Level.WARNING, Level.NOTE)
"""From what weighs most to what weighs least."""


@dataclass(frozen=True)
class Verdict:
    """What lint says about one file.

    Attributes:
        name: of the file, from the folder that was named.
        sop_instance_uid: of the structure set; empty where it does not say.
        series_uid: the series that the rings were held against; empty where there is none.
        complaints: the heaviest first.
    """

    name: str
    sop_instance_uid: str
    series_uid: str
    complaints: tuple[Complaint, ...]

    def count(self, level: Level) -> int:
        """How many complaints are of a level."""
        return sum(one.level is level for one in self.complaints)


def unreadable(name: str, why: str) -> Verdict:
    """The verdict on a file that could not be read at all."""
    return Verdict(name, "", "", (Complaint("file-unreadable", why),))


def lint(
    files: Sequence[StructureSetFile], candidates: Sequence[ImageSeries], destination: Destination | None = None
) -> tuple[Verdict, ...]:
    """A verdict on each structure set, in the order given.

    ``candidates`` are the series among which are the images that the sets were drawn on; where there is none, the
    place is not checked, and a note says so. With a destination, its rules stand in place of those of most systems.
    """
    contents: dict[str, set[str]] = defaultdict(set)
    for file in files:
        contents[file.text["SOPInstanceUID"]].add(file.sha256)
    verdicts = []
    for file in files:
        series, found = _complaints(file, candidates)
        if destination is not None:
            found = [one for one in found if one.code not in DECIDED] + list(for_destination(file, destination))
        uid = file.text["SOPInstanceUID"]
        if uid and len(contents[uid]) > 1:
            message = f"{len(contents[uid])} files of different content have the same SOP Instance UID"
            found.append(Complaint("uid-reused", message, uid=uid, count=len(contents[uid])))
        ordered = tuple(sorted(found, key=lambda one: ORDER.index(one.level)))
        verdicts.append(Verdict(file.name, uid, "" if series is None else series.uid, ordered))
    return tuple(verdicts)


def _complaints(
    file: StructureSetFile, candidates: Sequence[ImageSeries]
) -> tuple[ImageSeries | None, list[Complaint]]:
    series, why_not = series_of(file, candidates)
    laid = lay(file, None if series is None or series.is_turned else series)
    found = [*will_it_open(file), *is_it_right(file, laid)]
    if series is None:
        found.append(Complaint(why_not, CODES[why_not].means))
        found += [one for roi in file.rois for one in gaps(roi, laid, None)]
    else:
        found += is_in_place(file, series, candidates, laid)
    return series, found


__all__ = ["CODES", "Code", "Complaint", "Level", "Verdict", "lint", "unreadable"]

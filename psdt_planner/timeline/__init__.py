"""Time: the lesions of the prior exam and of this one, matched in a common frame, and what has progressed.

Both exams are brought to one frame (`place`), their lesions matched (`matching`), volumes and ADC compared beside their
measurement error (`change`), and set beside the reader's word (`rac`). Nothing is inferred from ADC alone.
"""

from psdt_planner.timeline.change import Change, adc_change, volume_change, volume_sd_ml
from psdt_planner.timeline.place import Covers, Seen, SeenLesion, covered_by, everywhere, place_lesion, without_place
from psdt_planner.timeline.rac import RacReadings, Reading, read_racs
from psdt_planner.timeline.regions import Region, region_of
from psdt_planner.timeline.whole import Fate, LesionTime, ProgressiveBy, Timeline, timeline_of

__all__ = [
    "Change",
    "Covers",
    "Fate",
    "LesionTime",
    "ProgressiveBy",
    "RacReadings",
    "Reading",
    "Region",
    "Seen",
    "SeenLesion",
    "Timeline",
    "adc_change",
    "covered_by",
    "everywhere",
    "place_lesion",
    "read_racs",
    "region_of",
    "timeline_of",
    "volume_change",
    "volume_sd_ml",
    "without_place",
]

"""Structured reports made by highdicom as TID 1500 has them, on images of `tests.dicom_in.objects`."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import ArrayLike
from pydicom import Dataset
from pydicom.sr.codedict import codes

from tests.dicom_in.objects import uid

LESION = codes.SCT.Lesion


def region(image: Dataset, kind: str, points: ArrayLike, frames: Sequence[int] | None = None) -> hd.sr.ImageRegion:
    """A region on one image: column and row, 0.5 at the centre of the first pixel."""
    source = hd.sr.SourceImageForRegion(str(image.SOPClassUID), str(image.SOPInstanceUID), frames)
    return hd.sr.ImageRegion(hd.sr.GraphicTypeValues(kind), np.asarray(points, dtype=float), source)


def region_3d(frame: str, kind: str, points: ArrayLike) -> hd.sr.ImageRegion3D:
    """A region in mm of a frame of reference."""
    return hd.sr.ImageRegion3D(hd.sr.GraphicTypeValues3D(kind), np.asarray(points, dtype=float), frame)


def surface(frame: str, kind: str, points: Any, series: str) -> hd.sr.VolumeSurface:
    """A surface in mm of a frame of reference, with the series that it was drawn on."""
    source = hd.sr.SourceSeriesForSegmentation(series)
    return hd.sr.VolumeSurface(hd.sr.GraphicTypeValues3D(kind), points, frame, source_series=source)


def referenced(seg: Dataset, number: int, series: str) -> hd.sr.ReferencedSegment:
    """A segment of a SEG, with the series that it was drawn on."""
    source = hd.sr.SourceSeriesForSegmentation(series)
    return hd.sr.ReferencedSegment(str(seg.SOPClassUID), str(seg.SOPInstanceUID), number, source_series=source)


def group(
    form: str,
    *,
    name: str = "Lesion 1",
    finding: Any = LESION,
    category: Any = codes.SCT.MorphologicallyAbnormalStructure,
    sites: Sequence[hd.sr.FindingSite] = (),
    **what: Any,
) -> Any:
    """A planar or volumetric measurement group; ``what`` is the region, as highdicom names it."""
    kinds = {
        "planar": hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations,
        "volumetric": hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations,
    }
    return kinds[form](
        tracking_identifier=hd.sr.TrackingIdentifier(uid(name, "tracking"), name),
        finding_type=finding,
        finding_category=category,
        finding_sites=list(sites) or None,
        **what,
    )


def report(groups: Sequence[Any], evidence: Sequence[Dataset], name: str = "sr") -> Dataset:
    """A Comprehensive 3D SR of the groups."""
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Person,
        observer_identifying_attributes=hd.sr.PersonObserverIdentifyingAttributes(name="Reader^A"),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_person_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=list(groups),
    )
    return hd.sr.Comprehensive3DSR(
        evidence=deepcopy(list(evidence)),
        content=content[0],
        series_number=1,
        series_instance_uid=uid(name),
        sop_instance_uid=uid(name, 0),
        instance_number=1,
        manufacturer="psdt tests",
        is_complete=True,
        is_final=True,
    )

"""The door for DICOM coming in: files and folders become one `Exam`, with everything that reading found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset

from psdt_planner.dicom.attributes import text_or_empty
from psdt_planner.dicom.files import Header, InputFile, quiet, read_headers
from psdt_planner.dicom.flags import ImageIndex, compared
from psdt_planner.dicom.kinds import KIND_OF_CLASS, MAPPING_KINDS, is_localizer
from psdt_planner.dicom.patients import compare_patients
from psdt_planner.dicom.references import Reference, references
from psdt_planner.dicom.registration_in import KnownImages, read_registration
from psdt_planner.dicom.registration_out import ReferredImage
from psdt_planner.dicom.rtstruct_in import read_structure_set
from psdt_planner.dicom.seg_in import read_segmentation
from psdt_planner.dicom.series import Series, VolumeStack, group, is_single_frame, stacks_of
from psdt_planner.dicom.volumes import AdcUnit, AdcUnitError, read_volume
from psdt_planner.errors import InputError
from psdt_planner.exam import Exam, ImportedRegistration, Organ
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind, Volume
from psdt_planner.lesions import FlaggedLesion

IMAGE_KINDS = (Kind.CT, Kind.MR_OTHER, Kind.PET)


@dataclass(frozen=True)
class SeriesSummary:
    """What one series is, for a person to look through.

    Attributes:
        date: of acquisition, else of the series, else of the study, as sent; empty where none is stated.
        b_values_s_per_mm2: number of images by b-value, ascending.
        b_value_source: where the b-values were read, joined by semicolons; empty without any.
        adc_unit_mm2_per_s: what one number of the map as rescaled is; None where it is no ADC map or unknown.
        frame_of_reference_uid: empty where it names none, or several.
        shapes_kji, spacings_kji_mm: of each volume that it makes.
        findings: those about this series.
    """

    series_instance_uid: str
    sop_class_uid: str
    modality: str
    kind: Kind
    images: int
    description: str
    date: str = ""
    frame_of_reference_uid: str = ""
    b_values_s_per_mm2: tuple[tuple[float, int], ...] = ()
    b_value_source: str = ""
    adc_unit_mm2_per_s: float | None = None
    adc_unit_source: str = ""
    shapes_kji: tuple[tuple[int, int, int], ...] = ()
    spacings_kji_mm: tuple[tuple[float, float, float], ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class Intake:
    """All that came in.

    Attributes:
        exam: what planning starts from; its findings are all findings, those of the series among them.
        ct_headers: of the planning CT, without pixels, in slice order; empty where there is none.
        mr_images: every MR image that names its study, to be referred to; by series, then SOP Instance UID.
        series: ordered by SeriesInstanceUID.
        other: objects that belong to no series, or do not say to which.
        files: every readable file, ordered by name and hash; the same bytes once.
        references: what refers to what.
    """

    exam: Exam
    ct_headers: tuple[Dataset, ...]
    mr_images: tuple[ReferredImage, ...]
    series: tuple[SeriesSummary, ...]
    other: tuple[InputFile, ...]
    files: tuple[InputFile, ...]
    references: tuple[Reference, ...]


@dataclass(frozen=True, eq=False)
class _Images:
    """One image series with what could be read of it."""

    series: Series
    stacks: tuple[VolumeStack, ...] = ()
    volumes: tuple[Volume, ...] = ()
    adc: AdcUnit | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, eq=False)
class _Marks:
    """What the objects that refer to images say."""

    flags: tuple[FlaggedLesion, ...]
    organs: tuple[Organ, ...]
    registrations: tuple[ImportedRegistration, ...]
    findings: tuple[Finding, ...]
    flag_items: int


def read_inputs(paths: Sequence[Path], *, progress: Callable[[int, int], None] | None = None) -> Intake:
    """Read DICOM files and folders, in any order and nesting; the same files give the same value.

    ``progress`` is called with the number of files read and their total. Pixels are read only of the planning CT and of
    MR series that planning may use. What is wrong with the content is a finding; every code is named where it arises.

    Raises:
        InputError: a path does not exist.
    """
    with quiet():
        headers, unreadable = read_headers(paths, progress=progress)
        series, nameless = group(headers)
        series, chosen = _with_planning_ct(series)
        images = tuple(_read_images(one) for one in series if KIND_OF_CLASS.get(one.sop_class_uid) in IMAGE_KINDS)
        marks = _read_marks(series, _index(images))
        about_files = [*unreadable, *chosen, *_unidentified(nameless), *_not_read(series), *_patients(series)]
        about_files += _on_prior(series, marks.flags)
        about_images = [finding for one in images for finding in one.findings]
        exam = _exam(images, marks, [*about_files, *about_images])
        files = [file for header in headers for file in (header.file, *header.rivals)]
        return Intake(
            exam=exam,
            ct_headers=_ct_headers(images),
            mr_images=_mr_images(series),
            series=tuple(_summary(one, images) for one in series),
            other=tuple(header.file for header in nameless),
            files=tuple(sorted(files, key=lambda file: (file.name, file.sha256))),
            references=tuple(sorted(reference for one in series for reference in references(one))),
        )


def _with_planning_ct(series: Sequence[Series]) -> tuple[tuple[Series, ...], list[Finding]]:
    """The series, with the only CT that is no localizer as the planning CT. Which of two is meant is never guessed."""
    ct = [one for one in series if one.kind is Kind.CT and not is_localizer(one.headers[0].dataset)]
    if len(ct) == 1:
        return tuple(one.as_planning_ct() if one is ct[0] else one for one in series), []
    if not ct:
        return tuple(series), [Finding("ct-absent", Level.HOLD, "there is no planning CT among the inputs")]
    named = [
        f"series {one.uid} ({one.text('SeriesDescription') or 'no description'}, {len(one.headers)} images, "
        f"{_referred_by(one, series)})"
        for one in ct
    ]
    message = f"{len(ct)} CT series, and nothing tells which is the planning CT: {'; '.join(named)}"
    return tuple(series), [Finding("ct-ambiguous", Level.HOLD, message, value=float(len(ct)), limit=1.0)]


def _referred_by(ct: Series, series: Sequence[Series]) -> str:
    targets = {ct.uid, *ct.frames}
    by = sorted({str(one.kind) for one in series for reference in references(one) if reference.to_uid in targets})
    return f"referred to by {', '.join(by)}" if by else "nothing refers to it"


def _read_images(series: Series) -> _Images:
    if series.kind is Kind.PET:
        return _Images(series)
    if not is_single_frame(series):
        level = Level.HOLD if series.kind is Kind.PLANNING_CT else Level.WARN
        message = f"series {series.uid}: multi-frame and mosaic images are not read yet"
        return _Images(series, findings=(Finding("multi-frame-unread", level, message),))
    stacks, odd = stacks_of(series)
    findings, volumes, adc = list(odd), [], None
    for one in stacks:
        if one.stack.grid is None or one.kind not in (*MAPPING_KINDS, Kind.PLANNING_CT):
            continue
        try:
            volume, unit = read_volume(one, one.stack.grid, series.uid)
        except AdcUnitError as error:
            findings.append(
                Finding("adc-unit-unknown", Level.WARN, f"series {series.uid}: {error}; the map is not used")
            )
        except InputError as error:
            findings.append(Finding("pixels-unreadable", Level.HOLD, f"series {series.uid}: {error}"))
        else:
            volumes.append(volume)
            adc = unit or adc
    return _Images(series, stacks, tuple(volumes), adc, tuple(findings))


def _index(images: Sequence[_Images]) -> ImageIndex:
    planning = [one.series.uid for one in images if one.series.kind is Kind.PLANNING_CT]
    return ImageIndex(
        kinds={one.series.uid: one.series.kind for one in images},
        frames={one.series.uid: one.series.frames for one in images},
        grids={one.series.uid: tuple(s.stack.grid for s in one.stacks if s.stack.grid is not None) for one in images},
        series_of_image={
            header.file.sop_instance_uid: one.series.uid for one in images for header in one.series.headers
        },
        planning_ct_uid=planning[0] if planning else "",
    )


def _read_marks(series: Sequence[Series], images: ImageIndex) -> _Marks:
    """Flags, organs and registrations, object by object in order of their SOP Instance UIDs."""
    objects = sorted(
        ((header, one.kind) for one in series for header in one.headers if one.kind in (Kind.SEG, Kind.RTSTRUCT)),
        key=lambda item: item[0].file.sop_instance_uid,
    )
    flags: list[FlaggedLesion] = []
    organs: list[Organ] = []
    findings: list[Finding] = []
    items = 0
    for header, kind in objects:
        if kind is Kind.SEG:
            read = read_segmentation(header, images, items + 1)
        else:
            structures = read_structure_set(header, images, items + 1)
            read = structures.flags
            organs += structures.organs
        flags += read.lesions
        findings += read.findings
        items += read.items
    registrations: list[ImportedRegistration] = []
    known = _known_images(series, images)
    for header in (header for one in series if one.kind is Kind.REGISTRATION for header in one.headers):
        found, odd = read_registration(header, known)
        registrations += found
        findings += odd
    return _Marks(tuple(flags), tuple(organs), tuple(registrations), (*findings, *compared(flags)), items)


def _known_images(series: Sequence[Series], images: ImageIndex) -> KnownImages:
    """Frame and series of every image, for registrations that name images."""
    headers = [(one.uid, header) for one in series if one.uid in images.kinds for header in one.headers]
    return KnownImages(
        frame_of={
            header.file.sop_instance_uid: text_or_empty(header.dataset, "FrameOfReferenceUID") for _, header in headers
        },
        series_of={header.file.sop_instance_uid: uid for uid, header in headers},
    )


def _unidentified(nameless: Sequence[Header]) -> list[Finding]:
    """Objects without the UIDs that would tell what they are and where they belong; a DICOMDIR has none by nature."""
    return [
        Finding(
            "object-unidentified",
            Level.WARN,
            f"{header.file.name} was left out: it names no SOP class, SOP instance or series of its own",
        )
        for header in nameless
        if "DirectoryRecordSequence" not in header.dataset
    ]


def _not_read(series: Sequence[Series]) -> list[Finding]:
    return [
        Finding("sr-not-read", Level.WARN, f"series {one.uid}: flags in structured reports are not read yet")
        for one in series
        if one.kind is Kind.SR
    ]


def _patients(series: Sequence[Series]) -> list[Finding]:
    reference = [one for kind in (Kind.PLANNING_CT, Kind.CT) for one in series if one.kind is kind] or list(series)
    return compare_patients(series, reference[0]) if reference else []


def _on_prior(series: Sequence[Series], flags: Sequence[FlaggedLesion]) -> list[Finding]:
    """Flags drawn on an MR study that is older, by its day, than another MR study among the inputs."""
    mr = {one.uid: one for one in series if one.is_mr}
    days = {uid: one.text("StudyDate") or one.text("SeriesDate") for uid, one in mr.items()}
    newest = max(days.values(), default="")
    found = []
    for flag in flags:
        day = days.get(flag.series_uid, "")
        if day and day < newest:
            message = f"{flag.id} was drawn on series {flag.series_uid}, of an older MR study than another input"
            found.append(Finding("flags-on-prior", Level.HOLD, message, lesion=flag.id))
    return found


def _exam(images: Sequence[_Images], marks: _Marks, findings: Sequence[Finding]) -> Exam:
    volumes = [volume for one in images for volume in one.volumes]
    ct = [volume for volume in volumes if volume.quantity.kind is Kind.PLANNING_CT]
    mr = tuple(volume for volume in volumes if volume.quantity.kind is not Kind.PLANNING_CT)
    absent = _absent(mr, marks)
    return Exam(
        planning_ct=ct[0] if ct else None,
        mr=mr,
        flags=marks.flags,
        organs=marks.organs,
        registrations=marks.registrations,
        findings=(*findings, *marks.findings, *absent),
    )


def _absent(mr: Sequence[Volume], marks: _Marks) -> list[Finding]:
    """What planning would use and lacks; of the MR kinds, in the frames of the flags where there are flags."""
    frames = {flag.grid.frame for flag in marks.flags}
    kinds = {volume.quantity.kind for volume in mr if not frames or volume.grid.frame in frames}
    found = []
    if not marks.flag_items:
        found.append(Finding("flags-absent", Level.HOLD, "no flagged lesion among the inputs"))
    if not mr:
        # Whether the flags can be mapped without one, planning decides: by a shared frame or a registration they can.
        return [*found, Finding("mr-absent", Level.WARN, "there is no MR among the inputs that could be read")]
    if not kinds & {Kind.DWI, Kind.DWI_TRACE}:
        found.append(Finding("dwi-absent", Level.WARN, "no diffusion-weighted series among the inputs"))
    if Kind.ADC not in kinds:
        found.append(Finding("adc-absent", Level.WARN, "no ADC map among the inputs"))
    if not kinds & {Kind.T1, Kind.DIXON_IN, Kind.DIXON_OUT, Kind.DIXON_WATER, Kind.DIXON_FAT}:
        found.append(Finding("t1-absent", Level.WARN, "no T1-weighted or Dixon series among the inputs"))
    return found


def _ct_headers(images: Sequence[_Images]) -> tuple[Dataset, ...]:
    for one in images:
        if one.series.kind is Kind.PLANNING_CT and one.stacks and one.stacks[0].stack.grid is not None:
            return tuple(each.header.dataset for each in one.stacks[0].stack.slices)
    return ()


def _mr_images(series: Sequence[Series]) -> tuple[ReferredImage, ...]:
    headers = [header.dataset for one in series if one.is_mr for header in one.headers]
    return tuple(ReferredImage.of(header) for header in headers if text_or_empty(header, "StudyInstanceUID"))


def _summary(series: Series, images: Sequence[_Images]) -> SeriesSummary:
    frames = series.frames
    plain = SeriesSummary(
        series_instance_uid=series.uid,
        sop_class_uid=series.sop_class_uid,
        modality=series.text("Modality"),
        kind=series.kind,
        images=len(series.headers),
        description=series.text("SeriesDescription"),
        date=series.text("AcquisitionDate") or series.text("SeriesDate") or series.text("StudyDate"),
        frame_of_reference_uid=next(iter(frames)) if len(frames) == 1 else "",
    )
    for one in images:
        if one.series is series:
            return _image_summary(plain, one)
    return plain


def _image_summary(plain: SeriesSummary, one: _Images) -> SeriesSummary:
    counts: dict[float, int] = {}
    for b_value in one.series.b_values.values():
        counts[b_value.s_per_mm2] = counts.get(b_value.s_per_mm2, 0) + 1
    grids = [stack.stack.grid for stack in one.stacks if stack.stack.grid is not None]
    return replace(
        plain,
        b_values_s_per_mm2=tuple(sorted(counts.items())),
        b_value_source="; ".join(sorted({b_value.source for b_value in one.series.b_values.values()})),
        adc_unit_mm2_per_s=one.adc.mm2_per_s if one.adc else None,
        adc_unit_source=one.adc.source if one.adc else "",
        shapes_kji=tuple(grid.shape for grid in grids),
        spacings_kji_mm=tuple(grid.spacing_kji_mm for grid in grids),
        findings=one.findings,
    )

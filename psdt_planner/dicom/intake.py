"""The door for DICOM coming in: files and folders become one `Exam`, with everything that reading found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset

from psdt_planner.dicom.assembly import about_acquisition, about_stations, acquisition_criteria
from psdt_planner.dicom.attributes import text_or_empty
from psdt_planner.dicom.courses import Courses, earlier_cts, read_courses
from psdt_planner.dicom.csv_in import read_table, tables_among
from psdt_planner.dicom.exams import MARKING, Exams, about_exams, as_prior, exams_among
from psdt_planner.dicom.files import Header, InputFile, quiet, read_headers, uncollected
from psdt_planner.dicom.flags import Flags, ImageIndex, at_edge, together
from psdt_planner.dicom.kinds import KIND_OF_CLASS, MAPPING_KINDS, is_localizer
from psdt_planner.dicom.patients import compare_patients
from psdt_planner.dicom.references import Reference, references
from psdt_planner.dicom.registration_in import KnownImages, read_registration
from psdt_planner.dicom.registration_out import ReferredImage
from psdt_planner.dicom.rtstruct_in import read_structure_set
from psdt_planner.dicom.seg_in import read_segmentation, segment_numbers
from psdt_planner.dicom.series import Series, VolumeStack, group, stacks_of
from psdt_planner.dicom.sr_in import read_report, segment_notes
from psdt_planner.dicom.volumes import AdcUnit, AdcUnitAmbiguousError, AdcUnitError, read_volume
from psdt_planner.dwi import whole_exam
from psdt_planner.errors import InputError
from psdt_planner.exam import Exam, ImportedRegistration, Landmark, Organ
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Kind, Volume
from psdt_planner.lesions import FlaggedLesion, FlaggedPoint

IMAGE_KINDS = (Kind.CT, Kind.MR_OTHER, Kind.PET)

THREADS = 2
"""Series whose pixels are read at a time: most of that is done without Python's own lock."""


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
    points: tuple[FlaggedPoint, ...]
    organs: tuple[Organ, ...]
    landmarks: tuple[Landmark, ...]
    registrations: tuple[ImportedRegistration, ...]
    findings: tuple[Finding, ...]
    flag_items: int
    prior: tuple[FlaggedLesion, ...]
    tables: tuple[InputFile, ...]


def read_inputs(paths: Sequence[Path], *, progress: Callable[[int, int], None] | None = None) -> Intake:
    """Read DICOM files and folders, in any order and nesting; the same files give the same value.

    ``progress`` is called with the number of files read and their total. Pixels are read only of the planning CT and of
    MR series that planning may use. What is wrong with the content is a finding; every code is named where it arises.

    Raises:
        InputError: a path does not exist.
    """
    with quiet(), uncollected():
        headers, unreadable = read_headers(paths, progress=progress)
        series, nameless = group(headers)
        series, chosen = _with_planning_ct(series)
        older = earlier_cts(series)
        with ThreadPoolExecutor(THREADS) as pool:
            of_images = [one for one in series if KIND_OF_CLASS.get(one.sop_class_uid) in IMAGE_KINDS]
            images = tuple(pool.map(lambda one: _read_images(one, wanted=one.uid in older), of_images))
        exams, courses = exams_among(series), read_courses(series)
        marks = _read_marks(series, _index(series, images), tables_among(paths), exams)
        about_files = [*unreadable, *chosen, *_unidentified(nameless), *_patients(series)]
        about_files += about_exams(exams, marks.flags, marks.prior)
        about_images = [finding for one in images for finding in one.findings]
        exam = _exam(images, marks, [*about_files, *about_images], exams, courses)
        files = [*marks.tables, *(file for header in headers for file in (header.file, *header.rivals))]
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
    """The series, with the only CT that is no localizer, nor that of an earlier course, as the planning CT.

    Which of two is meant is never guessed.
    """
    older = earlier_cts(series)
    ct = [one for one in series if one.kind is Kind.CT and not is_localizer(one.headers[0].dataset)]
    ct = [one for one in ct if one.uid not in older]
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


def _read_images(series: Series, *, wanted: bool) -> _Images:
    """What can be read of a series; a CT beside the planning CT only where it is ``wanted``."""
    if series.kind is Kind.PET:
        return _Images(series)
    if series.unread:
        level = Level.HOLD if series.kind is Kind.PLANNING_CT else Level.WARN
        message = f"series {series.uid}: its images cannot be taken apart into slices: {series.unread}"
        return _Images(series, findings=(Finding("multi-frame-unread", level, message),))
    stacks, odd = stacks_of(series)
    findings, volumes, adc = list(odd), [], None
    for one in stacks:
        if one.stack.grid is None or not (wanted or one.kind in (*MAPPING_KINDS, Kind.PLANNING_CT)):
            continue
        try:
            volume, unit = read_volume(one, one.stack.grid, series.uid)
        except AdcUnitError as error:
            ambiguous = isinstance(error, AdcUnitAmbiguousError)
            code, level = ("adc-unit-ambiguous", Level.HOLD) if ambiguous else ("adc-unit-unknown", Level.WARN)
            findings.append(Finding(code, level, f"series {series.uid}: {error}; the map is not used"))
        except InputError as error:
            findings.append(Finding("pixels-unreadable", Level.HOLD, f"series {series.uid}: {error}"))
        else:
            volumes.append(volume)
            adc = unit or adc
    return _Images(series, stacks, tuple(volumes), adc, tuple(findings))


def _index(series: Sequence[Series], images: Sequence[_Images]) -> ImageIndex:
    planning = [one.series.uid for one in images if one.series.kind is Kind.PLANNING_CT]
    return ImageIndex(
        kinds={one.series.uid: one.series.kind for one in images},
        frames={one.series.uid: one.series.frames for one in images},
        grids={one.series.uid: tuple(s.stack.grid for s in one.stacks if s.stack.grid is not None) for one in images},
        series_of_image={
            header.file.sop_instance_uid: one.series.uid for one in images for header in one.series.headers
        },
        planning_ct_uid=planning[0] if planning else "",
        headers={header.file.sop_instance_uid: header for one in images for header in one.series.headers},
        segments=frozenset(
            (header.file.sop_instance_uid, number)
            for one in series
            if one.kind is Kind.SEG
            for header in one.headers
            for number in segment_numbers(header.dataset)
        ),
    )


def _read_marks(series: Sequence[Series], images: ImageIndex, tables: Sequence[Path], exams: Exams) -> _Marks:
    """Flags, points, organs and registrations, object by object in order of their SOP Instance UIDs, then tables."""
    objects = sorted(
        ((header, one.kind) for one in series for header in one.headers if one.kind in MARKING),
        key=lambda item: item[0].file.sop_instance_uid,
    )
    objects = [item for item in objects if item[0].file.sop_instance_uid not in exams.left_out]
    notes = segment_notes(header for header, kind in objects if kind is Kind.SR)
    found: list[Flags] = []
    older: list[Flags] = []
    organs: list[Organ] = []
    landmarks: list[Landmark] = []
    files: list[InputFile] = []
    for header, kind in objects:
        is_prior = header.file.sop_instance_uid in exams.prior_objects
        first = 1 + sum(one.items for one in (older if is_prior else found))
        if kind is Kind.SEG:
            read = read_segmentation(header, images, first, notes)
        elif kind is Kind.SR:
            read = read_report(header, images, first)
        else:
            structures = read_structure_set(header, images, first)
            read = structures.flags
            organs += structures.organs
            landmarks += structures.landmarks
        (older if is_prior else found).append(as_prior(read) if is_prior else read)
    for path in tables:
        table = read_table(path, images, 1 + sum(one.items for one in found))
        found.append(table.flags)
        files += [table.file] if table.file else []
    points = tuple(point for one in found for point in one.points)
    flags, said = together([flag for one in found for flag in one.lesions], points)
    prior, said_of_prior = together(
        [flag for one in older for flag in one.lesions], [point for one in older for point in one.points]
    )
    registrations, odd = _read_registrations(series, images)
    of_each = (finding for one in (*found, *older) for finding in one.findings)
    findings = (*of_each, *odd, *said, *said_of_prior, *at_edge(flags, images))
    items = sum(one.items for one in found)
    return _Marks(flags, points, tuple(organs), tuple(landmarks), registrations, findings, items, prior, tuple(files))


def _read_registrations(
    series: Sequence[Series], images: ImageIndex
) -> tuple[tuple[ImportedRegistration, ...], list[Finding]]:
    registrations: list[ImportedRegistration] = []
    findings: list[Finding] = []
    known = _known_images(series, images)
    for header in (header for one in series if one.kind is Kind.REGISTRATION for header in one.headers):
        found, odd = read_registration(header, known)
        registrations += found
        findings += odd
    return tuple(registrations), findings


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


def _patients(series: Sequence[Series]) -> list[Finding]:
    reference = [one for kind in (Kind.PLANNING_CT, Kind.CT) for one in series if one.kind is kind] or list(series)
    return compare_patients(series, reference[0]) if reference else []


def _exam(
    images: Sequence[_Images], marks: _Marks, findings: Sequence[Finding], exams: Exams, courses: Courses
) -> Exam:
    volumes = [volume for one in images for volume in one.volumes]
    ct = [volume for volume in volumes if volume.quantity.kind is Kind.PLANNING_CT]
    mr = tuple(volume for volume in volumes if volume.quantity.kind not in (Kind.PLANNING_CT, Kind.CT))
    criteria, known = acquisition_criteria(), [one.series.uid for one in images]
    this, prior = whole_exam(exams.of_this(mr), criteria), exams.prior_exam(marks.prior, mr)
    of_prior = whole_exam(prior.mr if prior else (), criteria)
    apart = about_stations((*marks.flags, *marks.points), this.volumes, known)
    apart += about_stations(marks.prior, of_prior.volumes, known)
    absent = [*about_acquisition((one.series for one in images), this.volumes), *_absent(this.volumes, marks)]
    return Exam(
        planning_ct=ct[0] if ct else None,
        mr=this.volumes,
        flags=marks.flags,
        organs=marks.organs,
        landmarks=marks.landmarks,
        registrations=marks.registrations,
        findings=(*findings, *marks.findings, *this.findings, *of_prior.findings, *apart, *absent, *courses.findings),
        points=marks.points,
        prior=replace(prior, mr=of_prior.volumes) if prior else None,
        courses=courses.courses,
        earlier_cts=tuple(volume for volume in volumes if volume.quantity.kind is Kind.CT),
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
    """By the UIDs that group objects, which an object that lacks one of its own has from its file meta information."""
    headers = [header for one in series if one.is_mr for header in one.headers]
    return tuple(
        _referred(header, study) for header in headers if (study := text_or_empty(header.dataset, "StudyInstanceUID"))
    )


def _referred(header: Header, study_uid: str) -> ReferredImage:
    file, ds = header.file, header.dataset
    frame, patient_id = text_or_empty(ds, "FrameOfReferenceUID"), text_or_empty(ds, "PatientID")
    uids = file.sop_class_uid, file.sop_instance_uid, file.series_instance_uid
    return ReferredImage(*uids, study_uid, frame, patient_id)


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

"""The diffusion side of an exam made whole: maps checked, missing ones fitted, high b computed, stations composed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from psdt_planner.criteria.acquisition import AcquisitionCriteria
from psdt_planner.dwi.adc import AdcFit, check_adc_maps, computed_b, missing_adc, without_high_b
from psdt_planner.dwi.stations import ComposedExam, compose_exam
from psdt_planner.findings import Finding, Level
from psdt_planner.images import Volume


def whole_exam(volumes: Sequence[Volume], criteria: AcquisitionCriteria) -> ComposedExam:
    """The volumes of an exam as regions, tumour load and mapping use them.

    ADC maps are held against the b-images, and fitted where none came; where no b-value of a frame reaches the high b
    of the criteria, an image at the least such b is computed. All of that is done on each station as it was acquired;
    then stations are joined. A volume that nothing is to be done with is the very one that came in.

    Finding codes: those of `check_adc_maps` and `compose_exam`; ``adc-fitted`` (info), ``dwi-computed`` (info).
    """
    findings: list[Finding] = []
    added: list[Volume] = []
    for fit in missing_adc(volumes):
        added.append(fit.adc)
        findings.append(_about_fit(fit))
    for fit in without_high_b(volumes, criteria.b_values.high_s_per_mm2[0]):
        added.append(computed_b(fit, criteria.b_values.high_s_per_mm2[0]))
        findings.append(_about_computed(fit, criteria))
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(check_adc_maps, volumes, criteria)
        composed = compose_exam([*volumes, *added])
        return ComposedExam(composed.composed, (*checked.result(), *findings, *composed.findings))


def _about_fit(fit: AdcFit) -> Finding:
    message = (
        f"series {fit.adc.series_uid}: no ADC map came with it; one was fitted from its images at {_b_values(fit)}"
    )
    return Finding("adc-fitted", Level.INFO, message, value=float(len(fit.b_values_s_per_mm2)))


def _about_computed(fit: AdcFit, criteria: AcquisitionCriteria) -> Finding:
    b = criteria.b_values.high_s_per_mm2[0]
    message = f"series {fit.adc.series_uid}: an image at b = {b:g} s/mm2 was computed from those at {_b_values(fit)}"
    limit = criteria.b_values.high_s_per_mm2[0]
    return Finding("dwi-computed", Level.INFO, message, value=max(fit.b_values_s_per_mm2), limit=limit, unit="s/mm2")


def _b_values(fit: AdcFit) -> str:
    return "b = " + ", ".join(f"{b:g}" for b in fit.b_values_s_per_mm2) + " s/mm2"

"""Diffusion images of a whole-body exam: ADC fits, stations composed, protocol checks, tumour load. Pure."""

from psdt_planner.dwi.acquisition import Acquisition, check_acquisition
from psdt_planner.dwi.adc import (
    AdcAgreement,
    AdcFit,
    b_images,
    check_adc_maps,
    compare_adc,
    computed_b,
    fit_adc,
    missing_adc,
    without_high_b,
)
from psdt_planner.dwi.stations import Composed, ComposedExam, compose_exam
from psdt_planner.dwi.whole import whole_exam

__all__ = [
    "Acquisition",
    "AdcAgreement",
    "AdcFit",
    "Composed",
    "ComposedExam",
    "b_images",
    "check_acquisition",
    "check_adc_maps",
    "compare_adc",
    "compose_exam",
    "computed_b",
    "fit_adc",
    "missing_adc",
    "whole_exam",
    "without_high_b",
]

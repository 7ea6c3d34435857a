"""How far a registration may be used, in the judgement of the person who looked at it.

The levels are those of the uncertainty assessment in AAPM TG-132 (Brock et al., Med Phys 2017;44:e43-e76), in our
words. No figure decides them: a person looks at the fused images, and says so when a plan is released.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RegistrationUse:
    """One level of the scale.

    Attributes:
        level: 0 is best.
        name: short.
        meaning: what is seen, and what the registration is then good for.
        for_targets: whether targets that it placed may be treated.
    """

    level: int
    name: str
    meaning: str
    for_targets: bool


REGISTRATION_USES = (
    RegistrationUse(
        0,
        "whole scan aligned",
        "Anatomy agrees within 1 mm everywhere. Structures may be drawn anywhere, for stereotactic treatment too.",
        for_targets=True,
    ),
    RegistrationUse(
        1,
        "locally aligned",
        "Around the targets anatomy is undistorted and agrees within 1 mm. Structures may be drawn there and "
        "only there.",
        for_targets=True,
    ),
    RegistrationUse(
        2,
        "usable with a risk of deformation",
        "Aligned around the targets, with slight differences of anatomy: a target may be deformed. No target rests on "
        "this image alone.",
        for_targets=True,
    ),
    RegistrationUse(
        3,
        "usable for diagnosis only",
        "It shows roughly where a lesion is. Its geometry is not to be relied on.",
        for_targets=False,
    ),
    RegistrationUse(4, "not acceptable", "The anatomy of the two images does not come together.", for_targets=False),
)
"""By level."""

NOT_ASSESSED = "not assessed"


def use_in_words(level: int | None) -> str:
    """Level and name; `NOT_ASSESSED` where nobody gave one."""
    return NOT_ASSESSED if level is None else f"level {level}, {REGISTRATION_USES[level].name}"

"""From the text of TOML files to a protocol, or to all that is wrong with it, by file, line and field."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from pydantic import ValidationError

from psdt_planner.errors import ProtocolError
from psdt_planner.protocol.checks import contradictions
from psdt_planner.protocol.files import joined
from psdt_planner.protocol.rows import Protocol
from psdt_planner.tables import place_and_message


def parse_protocol(text: str, name: str) -> Protocol:
    """The protocol in the text of one TOML file, checked.

    Raises:
        ProtocolError: the text is no TOML, a key is missing or unknown, a row has no source, or a number is
            implausible. Every defect is named with its line and field, not only the first.
    """
    return parse_files({name: text}, name)


def parse_files(files: Mapping[str, str], name: str, overlay: tuple[str, str] | None = None) -> Protocol:
    """The protocol in the texts of several files, by their names, checked.

    Args:
        files: of the protocol.
        name: that it goes by.
        overlay: name and text of a clinic's file, whose rows replace those of the protocol.

    Raises:
        ProtocolError: as `parse_protocol`, and where two files say the same thing.
    """
    found = joined(files, overlay)
    if found.defects:
        raise _refusal(name, found.defects)
    own = {"name": name, "sha256": _sha256(found.texts)}
    given = sorted(own.keys() & found.tables.keys())
    try:
        protocol = Protocol.model_validate({**found.tables, **own})
    except ValidationError as error:
        raise _refusal(name, [found.defect(*place_and_message(detail)) for detail in error.errors()]) from error
    defects = [found.defect(place, message) for place, message in contradictions(protocol)]
    defects += [found.defect((key,), "comes from the file, not from a key") for key in given]
    if defects:
        raise _refusal(name, defects)
    return protocol


def _sha256(texts: Mapping[str, str]) -> str:
    """Of the text where there is one; of several, of a list of their names and hashes."""
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    if len(hashes) == 1:
        return next(iter(hashes.values()))
    return hashlib.sha256("".join(f"{one}  {name}\n" for name, one in hashes.items()).encode()).hexdigest()


def _refusal(name: str, defects: list[str]) -> ProtocolError:
    return ProtocolError(
        "; ".join(defects), where=f"protocol {name}", todo="Whoever keeps this protocol must correct it."
    )

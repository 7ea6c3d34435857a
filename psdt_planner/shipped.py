"""Destinations and protocols: those that come with psdt, by name, and a site's own files."""

from __future__ import annotations

import difflib
import tomllib
from importlib import resources
from pathlib import Path

from psdt_planner.destination import Destination, parse_destination
from psdt_planner.errors import ConfigurationError, ProtocolError
from psdt_planner.protocol import Protocol, base_of, parse_files

GENERIC = "generic"
"""The destination that nobody has named."""

PROTOCOL = "psdt-crpc"
"""The protocol that comes with psdt."""

SIGNATURE_END = ".signed.toml"
"""What the file of a signature is called after: beside ``clinic.toml`` stands ``clinic.signed.toml``."""


def shipped_destinations() -> tuple[str, ...]:
    """Names of the destinations that come with psdt, in alphabetical order."""
    files = resources.files("psdt_planner").joinpath("destinations").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def load_destination(name: str) -> Destination:
    """A destination of psdt's by its name, or one of the site's by its file, which ends in ``.toml``.

    Raises:
        ConfigurationError: an unknown name, with the nearest known one; a file that cannot be read or is wrong.
    """
    if name.endswith(".toml"):
        path = Path(name)
        try:
            return parse_destination(path.read_text(encoding="utf-8"), path.stem)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"the destination cannot be read: {error}", where=name) from error
    known = shipped_destinations()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise ConfigurationError(
            f"no destination is called {name!r}; the nearest is {nearest!r}",
            todo=f"Known are {', '.join(known)}, and any file that ends in .toml.",
        )
    file = resources.files("psdt_planner").joinpath("destinations", f"{name}.toml")
    return parse_destination(file.read_text(encoding="utf-8"), name)


def shipped_protocol() -> Protocol:
    """The protocol that comes with psdt, which nobody has signed for."""
    return parse_files(_shipped_files(PROTOCOL), PROTOCOL)


def load_protocol(path: Path | None) -> Protocol:
    """The protocol in a file, over the shipped one where the file asks for it; without a file, the shipped one itself.

    A protocol whose status is ``clinical`` holds only with a signature beside it that fits its hash.

    Raises:
        ConfigurationError: the file cannot be read, or names a base that nobody knows.
        ProtocolError: its text is wrong, or nobody has signed for what it says now.
    """
    if path is None:
        return shipped_protocol()
    protocol = read_protocol(path)
    if protocol.status == "clinical":
        _check_signature(protocol, path)
    return protocol


def read_protocol(path: Path) -> Protocol:
    """As `load_protocol`, without asking for a signature: to be looked at, not to be planned with."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the protocol cannot be read: {error}", where=str(path)) from error
    base = base_of(text)
    if not base:
        return parse_files({path.name: text}, path.stem)
    if base != PROTOCOL:
        todo = f"The protocol to lay rows over is {PROTOCOL!r}."
        raise ConfigurationError(f"no protocol is called {base!r}", where=str(path), todo=todo)
    return parse_files(_shipped_files(base), path.stem, overlay=(path.name, text))


def signature_of(path: Path) -> Path:
    """The file of a protocol's signature, beside it."""
    return path.with_name(path.stem + SIGNATURE_END)


def _check_signature(protocol: Protocol, path: Path) -> None:
    file = signature_of(path)
    todo = f"{protocol.signer} must look at it and sign: psdt protocol sign {path.name} --by NAME"
    try:
        signed = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ProtocolError("nobody has signed for this clinical protocol", where=str(path), todo=todo) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProtocolError(f"its signature cannot be read: {error}", where=str(file), todo=todo) from error
    if signed.get("sha256") != protocol.sha256:
        message = "the protocol has changed since it was signed: the signature is void"
        raise ProtocolError(message, where=str(path), todo=todo)
    if signed.get("signer") != protocol.signer:
        message = f"it names {protocol.signer} and was signed by {signed.get('signer')}"
        raise ProtocolError(message, where=str(path), todo=todo)


def _shipped_files(name: str) -> dict[str, str]:
    folder = resources.files("psdt_planner").joinpath("protocols", name)
    files = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {file: folder.joinpath(file).read_text(encoding="utf-8") for file in files}

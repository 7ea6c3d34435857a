"""What the clinic sets: the ``[node]`` and ``[peers.NAME]`` sections of ``psdt.toml``.

An unknown key is an error that names the nearest known one; a missing key is an error too.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from dicom_nodes.errors import ConfigurationError


def _is_ae_title(text: str) -> str:
    if not 1 <= len(text.strip()) <= 16 or not text.isascii() or not text.isprintable() or "\\" in text:
        raise ValueError("an AE title has 1 to 16 printable ASCII characters and no backslash (PS3.5 6.2)")
    return text.strip()


AETitle = Annotated[str, AfterValidator(_is_ae_title)]
Port = Annotated[int, Field(ge=0, le=65535)]


class Settings(BaseModel):
    """Base of every section: values cannot be changed, and a key that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Peer(Settings):
    """Another application entity.

    Attributes:
        host, port: where it listens.
        ae_title: how it is called.
        timeout_s: for the connection, the association and each answer.
    """

    host: str = Field(min_length=1)
    port: Port
    ae_title: AETitle
    timeout_s: float = Field(default=30.0, gt=0)


class Limits(Settings):
    """How much the node takes on at once.

    Attributes:
        associations: at the same time; one more is refused as transient.
        network_timeout_s: an association on which nothing arrives for so long is aborted.
        reserve_mb: room that must be left on the disk; below it a sender hears A700.
        maximum_pdu_bytes: length of the PDUs that peers may send.
    """

    associations: int = Field(default=24, ge=1)
    network_timeout_s: float = Field(default=60.0, gt=0)
    reserve_mb: int = Field(default=2048, ge=0)
    maximum_pdu_bytes: int = Field(default=131072, ge=4096)


class NodeConfig(Settings):
    """The ``[node]`` section and the peers.

    Attributes:
        ae_title: of this node, as senders must call it.
        host, port: where it listens; port 0 lets the system choose.
        storage: folder of the received objects; made where it is absent.
        index: database of the received objects, as an SQLAlchemy URL.
        senders: AE titles that may send; those of all peers may as well.
        accept_any_sender: take objects from any AE title.
        peers: by name.
    """

    ae_title: AETitle
    host: str = "127.0.0.1"
    port: Port = 11112
    storage: Path
    index: str = Field(min_length=1)
    senders: tuple[AETitle, ...] = ()
    accept_any_sender: bool = False
    limits: Limits = Limits()
    peers: Mapping[str, Peer] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_a_sender(self) -> NodeConfig:
        if not self.accept_any_sender and not self.allowed_senders:
            raise ValueError("nobody may send: list AE titles in senders, or set accept_any_sender = true")
        return self

    @property
    def allowed_senders(self) -> tuple[str, ...]:
        """AE titles that may send, each once, in alphabetical order."""
        return tuple(sorted({*self.senders, *(peer.ae_title for peer in self.peers.values())}))

    def peer(self, name: str) -> Peer:
        """The peer of that name, or a ``ConfigurationError`` that names those that are known."""
        if name not in self.peers:
            known = ", ".join(sorted(self.peers)) or "none"
            raise ConfigurationError(f"no peer is called {name!r} (known: {known})", todo="Add it under [peers].")
        return self.peers[name]


SettingsT = TypeVar("SettingsT", bound=Settings)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; a ``ConfigurationError`` where it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the configuration cannot be read: {error}", where=str(path)) from error


def parse(model: type[SettingsT], values: Mapping[str, Any], where: str) -> SettingsT:
    """``values`` as ``model``; a ``ConfigurationError`` lists every key that is unknown, absent or wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(model, dict(detail)) for detail in error.errors(include_url=False)]
        raise ConfigurationError("; ".join(lines), where=where, todo="Correct the configuration.") from error


def section(tables: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """One section of the tables; a ``ConfigurationError`` where it is absent or a plain value."""
    if name not in tables:
        raise ConfigurationError(f"section [{name}] is absent", where=where, todo="See docs/psdt.toml.")
    if not isinstance(tables[name], dict):
        raise ConfigurationError(f"[{name}] is no section", where=where, todo="See docs/psdt.toml.")
    return dict(tables[name])


def node_config(tables: Mapping[str, Any], where: str, folder: Path) -> NodeConfig:
    """The node's part of the tables of ``psdt.toml``; a relative storage folder is taken from ``folder``."""
    node = section(tables, "node", where)
    if "peers" in node:
        raise ConfigurationError("peers stand in sections of their own", where=where, todo="Write [peers.NAME].")
    config = parse(NodeConfig, {**node, "peers": tables.get("peers", {})}, where)
    update = {"storage": folder / config.storage, "index": anchored(config.index, folder)}
    return config.model_copy(update=update)


def anchored(url: str, folder: Path) -> str:
    """A database URL; the file of a relative SQLite URL is taken from ``folder``."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(f"not a database URL: {url!r}", todo="Write sqlite:///FILE.") from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return url
    return parsed.set(database=str(folder / str(parsed.database))).render_as_string(hide_password=False)


def _explain(model: type[BaseModel], detail: Mapping[str, Any]) -> str:
    """One error of pydantic in plain words, with the nearest known key for an unknown one."""
    location = [str(part) for part in detail["loc"]]
    if detail["type"] != "extra_forbidden":
        return f"{'.'.join(location) or 'section'}: {detail['msg'].removeprefix('Value error, ')}"
    known = _keys_at(model, location[:-1])
    near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.0)
    return f"{'.'.join(location)}: unknown key; the nearest known key is {near[0]!r}"


def _keys_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """The keys that the settings at a place inside ``model`` know."""
    for part in location:
        field = model.model_fields.get(part)
        if field is None:  # the name of an entry in a mapping: its values are the settings already reached
            continue
        inner = next((kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)), None)
        model = inner or model
    return list(model.model_fields)


def _kinds(annotation: Any) -> list[type]:
    """The classes that an annotation is made of."""
    parts = getattr(annotation, "__args__", (annotation,))
    return [part for part in parts if isinstance(part, type)]

"""What the clinic sets: the ``[node]`` and ``[peers.NAME]`` sections of ``psdt.toml``.

Plain text goes over no cable unless the configuration says so: beyond this machine, the node and each peer need either
``[node.tls]`` or ``plain = true``.

An unknown key is an error that names the nearest known one; a missing key is an error too.
"""

from __future__ import annotations

import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

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


class Tls(Settings):
    """Who we are on a TLS connection, and whom we believe; files in PEM form.

    Attributes:
        certificate: ours, with those that lead to its authority behind it.
        key: belongs to the certificate; nobody else may read it.
        authorities: certificates of those whose signature under a peer's certificate counts.
    """

    certificate: Path
    key: Path
    authorities: Path

    def below(self, folder: Path) -> Tls:
        """The same with relative paths taken from ``folder``."""
        return Tls(**{name: folder / path for name, path in self})


class Peer(Settings):
    """Another application entity.

    Attributes:
        host, port: where it listens.
        ae_title: how it is called.
        timeout_s: for the connection, the association and each answer.
        plain: it is spoken to without TLS, beyond this machine too.
        tls: as the node's; a section of its own where this peer wants another certificate.
        tls_name: the name in its certificate, where that is not ``host``.
        confirm: how it is asked whether it keeps what it took: not at all, by storage commitment, by a C-FIND for each
            object, or by a C-GET that compares what comes back.
        retrieve: how objects are had from it: it sends them to our listener (C-MOVE), or on our association (C-GET).
    """

    host: str = Field(min_length=1)
    port: Port
    ae_title: AETitle
    timeout_s: float = Field(default=30.0, gt=0)
    plain: bool = False
    tls: Tls | None = None
    tls_name: str = ""
    confirm: Literal["none", "commitment", "find", "get"] = "none"
    retrieve: Literal["move", "get"] = "move"

    @property
    def name(self) -> str:
        """For a person to find it by."""
        return f"{self.ae_title} at {self.host}:{self.port}"


class WebPeer(Settings):
    """An archive that is spoken to by DICOMweb (PS3.18).

    The secret itself stands in no configuration, so that it can be shown nowhere: it is read when it is used.

    Attributes:
        url: of its DICOMweb service, without user or password.
        user: with whose name the secret is given (HTTP Basic); empty where the secret is a bearer token.
        secret_env: environment variable that holds the secret.
        secret_file: file that holds it; nobody else may read it.
        authorities: certificates of those whose signature under the server's counts, in PEM form; the public ones where
            absent.
        certificate, key: ours, for a server that asks for one; as for `Tls`.
        timeout_s: for the connection, and for each part of an answer.
        plain: it is spoken to by http, beyond this machine too.
        confirm: as for a `Peer`: "find" asks by QIDO-RS, "get" compares what WADO-RS gives back.
    """

    url: str
    user: str = ""
    secret_env: str = ""
    secret_file: Path | None = None
    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    timeout_s: float = Field(default=30.0, gt=0)
    plain: bool = False
    confirm: Literal["none", "find", "get"] = "none"

    @model_validator(mode="after")
    def _is_a_plain_url(self) -> WebPeer:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("url: write https://HOST/PATH")
        if parts.username or parts.password:
            raise ValueError("url: no user or password here; write user and secret_env or secret_file")
        if parts.scheme == "http" and not self.plain and not is_loopback(parts.hostname):
            raise ValueError(f"no TLS with {parts.hostname}: write https, or plain = true")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: write both, or none")
        return self

    @property
    def name(self) -> str:
        """For a person to find it by."""
        return self.url

    @property
    def host(self) -> str:
        """Where it listens."""
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True)
class SenderRule:
    """An AE title that may send, and from where; from anywhere where ``network`` is None."""

    ae_title: str
    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None

    @classmethod
    def parsed(cls, text: str) -> SenderRule:
        """From ``AE``, ``AE@ADDRESS`` or ``AE@NETWORK/BITS``; a ``ValueError`` where it is none of these."""
        title, at, network = text.rpartition("@")
        return cls(_is_ae_title(title if at else text), ipaddress.ip_network(network) if at else None)


def _is_sender_rule(text: str) -> str:
    SenderRule.parsed(text)
    return text.strip()


class Limits(Settings):
    """How much the node takes on at once.

    Attributes:
        connections: at the same time, whether an association was asked for on them or not; one address may hold half of
            them; one more is closed.
        associations: at the same time; one more is refused as transient.
        associations_per_sender, associations_per_minute: of one AE title at one address, at the same time and within a
            minute; more are refused as transient.
        network_timeout_s: an association on which nothing arrives for so long is aborted.
        reserve_mb: room that must be left on the disk; below it a sender hears A700.
        maximum_pdu_bytes: length of the PDUs that peers may send.
    """

    connections: int = Field(default=100, ge=2)
    associations: int = Field(default=24, ge=1)
    associations_per_sender: int = Field(default=16, ge=1)
    associations_per_minute: int = Field(default=1200, ge=1)
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
        senders: AE titles that may send, each with the address or network that it comes from behind ``@`` where it may
            come from there only; those of all peers may as well, from their hosts.
        accept_any_sender: take objects from any AE title.
        plain: the listener speaks without TLS, beyond this machine too.
        tls: for the listener, and for the peers that are not ``plain``; without it everything is plain text.
        peers: those that speak DICOM over its own protocol, by name.
        web: those that speak DICOMweb, by name; they too stand in ``[peers.NAME]``, with a ``url``.
    """

    ae_title: AETitle
    host: str = "127.0.0.1"
    port: Port = 11112
    storage: Path
    index: str = Field(min_length=1)
    senders: tuple[Annotated[str, AfterValidator(_is_sender_rule)], ...] = ()
    accept_any_sender: bool = False
    plain: bool = False
    tls: Tls | None = None
    limits: Limits = Limits()
    peers: Mapping[str, Peer] = Field(default_factory=dict)
    web: Mapping[str, WebPeer] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_a_sender(self) -> NodeConfig:
        if not self.accept_any_sender and not self.allowed_senders:
            raise ValueError("nobody may send: list AE titles in senders, or set accept_any_sender = true")
        return self

    @model_validator(mode="after")
    def _says_where_it_is_plain(self) -> NodeConfig:
        if self.tls is None and not self.plain and not is_loopback(self.host):
            raise ValueError(f"no TLS on {self.host}: add [node.tls], or write plain = true under [node]")
        for name, peer in self.peers.items():
            if (self.tls or peer.tls) is None and not peer.plain and not is_loopback(peer.host):
                raise ValueError(f"no TLS with {name}: add [node.tls], or write plain = true under [peers.{name}]")
        return self

    @property
    def listens_in_plain(self) -> bool:
        """Whether peers come without TLS."""
        return self.plain or self.tls is None

    @property
    def sender_rules(self) -> tuple[SenderRule, ...]:
        """``senders`` by their parts."""
        return tuple(SenderRule.parsed(text) for text in self.senders)

    @property
    def allowed_senders(self) -> tuple[str, ...]:
        """AE titles that may send, each once, in alphabetical order."""
        return tuple(
            sorted({*(rule.ae_title for rule in self.sender_rules), *(peer.ae_title for peer in self.peers.values())})
        )

    def peer(self, name: str) -> Peer:
        """The peer of that name, or a ``ConfigurationError`` that names those that are known."""
        if name in self.web:
            raise ConfigurationError(
                f"{name} speaks DICOMweb; this needs a peer with a host", todo="Name another peer."
            )
        if name not in self.peers:
            known = ", ".join(sorted({*self.peers, *self.web})) or "none"
            raise ConfigurationError(f"no peer is called {name!r} (known: {known})", todo="Add it under [peers].")
        return self.peers[name]

    def any_peer(self, name: str) -> Peer | WebPeer:
        """As ``peer``, of either kind."""
        return self.web[name] if name in self.web else self.peer(name)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, so that what is said to it goes over no cable."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
    if "peers" in node or "web" in node:
        raise ConfigurationError("peers stand in sections of their own", where=where, todo="Write [peers.NAME].")
    peers = tables.get("peers", {})
    web = {name: values for name, values in peers.items() if "url" in values} if isinstance(peers, dict) else {}
    dicom = {name: values for name, values in peers.items() if name not in web} if isinstance(peers, dict) else peers
    config = parse(NodeConfig, {**node, "peers": dicom, "web": web}, where)
    tls = config.tls.below(folder) if config.tls else None
    update = {
        "storage": folder / config.storage,
        "index": anchored(config.index, folder),
        "tls": tls,
        "peers": {name: _with_tls(peer, tls, folder) for name, peer in config.peers.items()},
        "web": {name: _web_below(peer, folder) for name, peer in config.web.items()},
    }
    return config.model_copy(update=update)


def _with_tls(peer: Peer, node: Tls | None, folder: Path) -> Peer:
    """A peer as it is spoken to: plain, with its own TLS files, or with the node's."""
    own = peer.tls.below(folder) if peer.tls else node
    return peer.model_copy(update={"tls": None if peer.plain else own})


def _web_below(peer: WebPeer, folder: Path) -> WebPeer:
    files = {name: getattr(peer, name) for name in ("secret_file", "authorities", "certificate", "key")}
    return peer.model_copy(update={name: path and folder / path for name, path in files.items()})


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
    shown = ["peers", *location[1:]] if location[:1] == ["web"] else location
    if detail["type"] != "extra_forbidden":
        return f"{'.'.join(shown) or 'section'}: {detail['msg'].removeprefix('Value error, ')}"
    known = _keys_at(model, location[:-1])
    near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.0)
    return f"{'.'.join(shown)}: unknown key; the nearest known key is {near[0]!r}"


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

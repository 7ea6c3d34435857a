"""PostgreSQL on loopback, with a cluster of its own that is gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.network import answers, free_port, wait_until
from tests.peers import require_peer

DEBIAN = ":".join(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
"""Where Debian puts the server's programs, which are not on the path."""


@contextmanager
def start_postgresql() -> Iterator[Callable[[], str]]:
    """A running server; gives a function that makes an empty database and returns its URL."""
    path = f"{os.environ.get('PATH', '')}:{DEBIAN}"
    require_peer("initdb", "postgres", path=path)
    user = _unprivileged()
    folder, port, numbers = Path(tempfile.mkdtemp(prefix="psdt-postgres-")), free_port(), count(1)
    if user is not None:
        shutil.chown(folder, user)

    def command(name: str, *arguments: str) -> list[str]:
        return [str(shutil.which(name, path=path)), *arguments]

    def create() -> str:
        name = f"psdt{next(numbers)}"
        made = command("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "psdt", name)
        subprocess.run(made, check=True, timeout=60)
        return f"postgresql://psdt@127.0.0.1:{port}/{name}"

    try:
        init = command("initdb", "-D", str(folder / "data"), "-U", "psdt", "-A", "trust", "-E", "UTF8", "--no-sync")
        subprocess.run(init, check=True, timeout=60, stdout=subprocess.DEVNULL, user=user, cwd="/")
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder, "fsync": "off"}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        serve = command("postgres", "-D", str(folder / "data"), *options)
        with subprocess.Popen(serve, stderr=subprocess.DEVNULL, user=user, cwd="/") as server:
            try:
                wait_until(lambda: answers(port), 30)
                yield create
            finally:
                server.terminate()
                server.wait(30)
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> str | None:
    """Whom to run the server as, which refuses to be root's; None where we are somebody else already."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"

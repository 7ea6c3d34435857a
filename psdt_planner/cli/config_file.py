"""The option that names the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Option("--config", metavar="FILE", help="The node's configuration.")]
DEFAULT_CONFIG = Path("psdt.toml")

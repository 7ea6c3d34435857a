"""The command line ``psdt``."""

import typer

app = typer.Typer(name="psdt", no_args_is_help=True, rich_markup_mode="rich")


def main() -> None:
    """Entry point of the console script."""
    app()

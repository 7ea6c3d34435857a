"""Alembic's entry: run the revisions on the connection that ``dicom_nodes.database.upgrade`` gives."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
)
context.run_migrations()

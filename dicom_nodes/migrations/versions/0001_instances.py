"""The table of received objects; one that an earlier psdt made without a revision is taken as it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table ``instances`` where it is absent."""
    if sa.inspect(op.get_bind()).has_table("instances"):
        return
    op.create_table(
        "instances",
        sa.Column("sequence", sa.Integer, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("quarantined", sa.Boolean, nullable=False),
        sa.Column("sop_class_uid", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("study_instance_uid", sa.String(64), nullable=False),
        sa.Column("series_instance_uid", sa.String(64), nullable=False),
        sa.Column("modality", sa.String, nullable=False),
        sa.Column("patient_id", sa.String, nullable=False),
        sa.Column("issuer_of_patient_id", sa.String, nullable=False),
        sa.Column("frame_of_reference_uid", sa.String, nullable=False),
        sa.Column("transfer_syntax_uid", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("received_at_s", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    for column in ("sop_instance_uid", "series_instance_uid", "patient_id"):
        op.create_index(f"ix_instances_{column}", "instances", [column])

"""Presets: parameters that people keep under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "presets",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("submitter", sa.String(128), nullable=False),
        sa.Column("generator", sa.String(64), nullable=False),
        sa.Column("weights", sa.String(128), nullable=False),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.UniqueConstraint("submitter", "generator", "weights", "name", name="presets_once_a_name"),
    )


def downgrade() -> None:
    op.drop_table("presets")

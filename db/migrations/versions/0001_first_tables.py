"""The first tables: jobs, lines, progress, results, executors, votes."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _create_jobs()
    _create_lines()
    _create_progress_and_results()
    _create_executors()
    _create_votes()


def downgrade() -> None:
    for table in ("votes", "executors", "results", "progress", "lines", "jobs"):
        op.drop_table(table)


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("generator", sa.String(64), nullable=False),
        sa.Column("weights", sa.String(128), nullable=False),
        sa.Column("prompt", sa.Text, nullable=False),
        sa.Column("parameters", sa.JSON, nullable=False),
        sa.Column("submitter", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("started_at", _INSTANT),
        sa.Column("finished_at", _INSTANT),
        sa.Column("error", sa.Text),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("executor", sa.String(128)),
        sa.Column("token", sa.String(32)),
        sa.Column("lease_expires_at", _INSTANT),
        sa.Column("checkpoint", sa.String(255)),
        sa.Column("untidy", sa.Boolean, nullable=False),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="jobs_state_known"
        ),
    )
    _partial_index("jobs_waiting", [sa.text("priority DESC"), "turn", "number"], "state = 'queued'")
    _partial_index("jobs_leases", ["lease_expires_at"], "state = 'running'")
    _partial_index("jobs_active", ["submitter", "number"], "state IN ('queued', 'running')")
    _partial_index("jobs_gallery", ["finished_at", "number"], "state = 'succeeded'")
    _partial_index("jobs_leftovers", ["number"], "untidy AND state IN ('succeeded', 'failed', 'cancelled')")


def _create_lines() -> None:
    op.create_table(
        "lines",
        sa.Column("priority", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("submitter", sa.String(128), primary_key=True),
        sa.Column("given", sa.Integer, nullable=False),
        sa.Column("served", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_index("lines_served", "lines", ["priority", "served"])


def _create_progress_and_results() -> None:
    op.create_table(
        "progress",
        _job_reference("job_id", primary_key=True),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("steps", sa.Integer, nullable=False),
        sa.Column("frame", sa.String(255)),
        sa.Column("history", sa.JSON, nullable=False),
        sa.Column("updated_at", _INSTANT, nullable=False),
    )
    op.create_table(
        "results",
        _job_reference("job_id", primary_key=True),
        sa.Column("image", sa.String(255), nullable=False),
        sa.Column("animation", sa.String(255), nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("numbers", sa.JSON, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
    )


def _create_executors() -> None:
    op.create_table(
        "executors",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("threads", sa.Integer, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("seen_at", _INSTANT, nullable=False),
        sa.Column("trouble", sa.Text),
    )


def _create_votes() -> None:
    op.create_table(
        "votes",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("person", sa.String(128), nullable=False),
        _job_reference("low_id", nullable=False),
        _job_reference("high_id", nullable=False),
        _job_reference("winner_id"),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.UniqueConstraint("person", "low_id", "high_id", name="votes_once_a_person"),
    )
    op.create_index("ix_votes_low_id", "votes", ["low_id"])
    op.create_index("ix_votes_high_id", "votes", ["high_id"])


def _job_reference(name: str, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(32), sa.ForeignKey("jobs.id", ondelete="CASCADE"), **options)


def _partial_index(name: str, columns: list[sa.TextClause | str], condition: str) -> None:
    op.create_index(
        name, "jobs", columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition)
    )

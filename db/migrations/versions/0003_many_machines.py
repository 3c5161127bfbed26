"""Attempts, switches, what executors can do; stars and reports; members and their tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    _count_beats()
    _extend_jobs_and_executors()
    _create_attempts_and_switches()
    _create_tallies()
    _create_stars_and_reports()
    _create_members_and_tokens()


def downgrade() -> None:
    for table in ("api_tokens", "members", "reports", "stars", "tallies", "switches", "attempts", "shelves"):
        op.drop_table(table)
    op.drop_index("jobs_fruitless", "jobs")
    op.drop_column("executors", "resident")
    op.drop_column("executors", "memory")
    op.drop_column("results", "hidden")
    op.drop_column("jobs", "passed_over_at")
    op.drop_column("jobs", "needs_memory")
    _keep_times()


def _count_beats() -> None:
    """Leases are watched, no longer compared with a clock."""
    op.drop_index("jobs_leases", "jobs")
    op.drop_column("jobs", "lease_expires_at")
    op.add_column("jobs", sa.Column("beats", sa.Integer, nullable=False, server_default="0"))
    _index_running_jobs("jobs_running", "number")


def _keep_times() -> None:
    op.drop_index("jobs_running", "jobs")
    op.drop_column("jobs", "beats")
    op.add_column("jobs", sa.Column("lease_expires_at", _INSTANT))
    op.execute("UPDATE jobs SET lease_expires_at = CURRENT_TIMESTAMP WHERE state = 'running'")
    _index_running_jobs("jobs_leases", "lease_expires_at")


def _index_running_jobs(name: str, column: str) -> None:
    running = sa.text("state = 'running'")
    op.create_index(name, "jobs", [column], sqlite_where=running, postgresql_where=running)


def _extend_jobs_and_executors() -> None:
    op.add_column("jobs", sa.Column("needs_memory", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("passed_over_at", _INSTANT))
    op.add_column("results", sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("executors", sa.Column("memory", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("executors", sa.Column("resident", sa.BigInteger, nullable=False, server_default="0"))
    op.create_table(
        "shelves",
        sa.Column(
            "executor_id", sa.String(128), sa.ForeignKey("executors.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("weights", sa.String(128), primary_key=True),
        sa.Column("loaded", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def _create_attempts_and_switches() -> None:
    op.create_table(
        "attempts",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        _of_a_job(index=True),
        sa.Column("executor", sa.String(128), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("ended_at", _INSTANT, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text),
    )
    op.create_table(
        "switches",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("changed_by", sa.String(128), nullable=False),
        sa.Column("changed_at", _INSTANT, nullable=False),
    )


def _create_tallies() -> None:
    op.create_table(
        "tallies",
        sa.Column("what", sa.String(16), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    fruitless = sa.text("state IN ('failed', 'cancelled')")
    columns = ["state", "finished_at", "started_at"]
    op.create_index("jobs_fruitless", "jobs", columns, sqlite_where=fruitless, postgresql_where=fruitless)


def _create_stars_and_reports() -> None:
    op.create_table(
        "stars",
        _of_a_job(primary_key=True),
        sa.Column("person", sa.String(128), primary_key=True),
        sa.Column("created_at", _INSTANT, nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        _of_a_job(index=True),
        sa.Column("person", sa.String(128), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("settled_at", _INSTANT),
        sa.UniqueConstraint("job_id", "person", name="reports_once_a_person"),
    )


def _create_members_and_tokens() -> None:
    op.create_table(
        "members",
        sa.Column("person", sa.String(128), primary_key=True),
        sa.Column("issuer", sa.String(255), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("email", sa.String(255), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("seen_at", _INSTANT, nullable=False),
        sa.UniqueConstraint("issuer", "subject", name="members_once_a_subject"),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("person", sa.String(128), nullable=False, index=True),
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", sa.String(255), nullable=False),
        sa.Column("created_at", _INSTANT, nullable=False),
        sa.Column("used_at", _INSTANT),
        sa.Column("expires_at", _INSTANT),
        sa.Column("revoked_at", _INSTANT),
    )


def _of_a_job(*, primary_key: bool = False, index: bool = False) -> sa.Column[str]:
    return sa.Column(
        "job_id",
        sa.String(32),
        sa.ForeignKey("jobs.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
        index=index,
    )

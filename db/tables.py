"""Every table. A change here comes with a migration in ``db/migrations/versions``."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator


class Instant(TypeDecorator[datetime]):
    """An aware moment, kept and given back in UTC, also by databases that know no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData()

# What was asked, and how far it got. `number` rises with age. `turn` is the job's place in the fair
# order among all submitters of its priority (see jobs/fairness.py). `token` names the lease, and `beats`
# counts its renewals: a lease that stands still is taken back (see Queue.expire).
# `round` counts how often it was asked for again: the files of each round have a place of their own.
# `untidy`: it was started, and its working files may still be in the store. `needs_memory`: drawing
# takes about so many bytes. `passed_over_at`: since when executors take later jobs, whose weights are loaded.
jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("generator", String(64), nullable=False),
    Column("weights", String(128), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("submitter", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("turn", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("started_at", Instant),
    Column("finished_at", Instant),
    Column("error", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("executor", String(128)),
    Column("token", String(32)),
    Column("beats", Integer, nullable=False, server_default="0"),
    Column("checkpoint", String(255)),
    Column("untidy", Boolean, nullable=False),
    Column("needs_memory", BigInteger, nullable=False, server_default="0"),
    Column("passed_over_at", Instant),
    Column("round", Integer, nullable=False, server_default="0"),
    CheckConstraint(
        "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="jobs_state_known"
    ),
)

# Each condition below must stand word for word in a query for its index to be used.
WAITING = text("state = 'queued'")
RUNNING = text("state = 'running'")
ACTIVE = text("state IN ('queued', 'running')")
SUCCEEDED = text("state = 'succeeded'")
ENDED = text("state IN ('succeeded', 'failed', 'cancelled')")
FRUITLESS = text("state IN ('failed', 'cancelled')")
LEFTOVER = text("untidy AND state IN ('succeeded', 'failed', 'cancelled')")

Index(
    "jobs_waiting",
    jobs.c.priority.desc(),
    jobs.c.turn,
    jobs.c.number,
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)
Index("jobs_running", jobs.c.number, sqlite_where=RUNNING, postgresql_where=RUNNING)
Index("jobs_active", jobs.c.submitter, jobs.c.number, sqlite_where=ACTIVE, postgresql_where=ACTIVE)
Index("jobs_of_a_person", jobs.c.submitter, jobs.c.number)
Index("jobs_gallery", jobs.c.finished_at, jobs.c.number, sqlite_where=SUCCEEDED, postgresql_where=SUCCEEDED)
Index(
    "jobs_fruitless",
    jobs.c.state,
    jobs.c.finished_at,
    jobs.c.started_at,
    sqlite_where=FRUITLESS,
    postgresql_where=FRUITLESS,
)
Index("jobs_leftovers", jobs.c.number, sqlite_where=LEFTOVER, postgresql_where=LEFTOVER)

# A submitter's line at one priority: the turn given to the newest job, and the newest turn that was served.
lines = Table(
    "lines",
    metadata,
    Column("priority", Integer, primary_key=True, autoincrement=False),
    Column("submitter", String(128), primary_key=True),
    Column("given", Integer, nullable=False),
    Column("served", Integer, nullable=False, server_default="0"),
)
Index("lines_served", lines.c.priority, lines.c.served)

# Attempts that ended without ending their job; the newest attempt stands in the job's own row.
# `outcome`: lost (its executor fell silent), failed (the generator broke down), handed back (in good order),
# or given up (the last one before a failed job was asked for again).
attempts = Table(
    "attempts",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("executor", String(128), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("ended_at", Instant, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text),
)

# What is counted of jobs that were deleted, so that no count falls (see jobs/tallies.py).
tallies = Table(
    "tallies",
    metadata,
    Column("what", String(16), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("count", BigInteger, nullable=False),
)

# What is switched for the whole queue, and by whom: "paused" while it stands here.
switches = Table(
    "switches",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("changed_by", String(128), nullable=False),
    Column("changed_at", Instant, nullable=False),
)

progress = Table(
    "progress",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("frame", String(255)),
    Column("history", JSON, nullable=False),
    Column("updated_at", Instant, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("image", String(255), nullable=False),
    Column("animation", String(255), nullable=False),
    Column("seconds", Double, nullable=False),
    Column("numbers", JSON, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("hidden", Boolean, nullable=False, server_default=false()),
)

# Results that people want kept.
stars = Table(
    "stars",
    metadata,
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("person", String(128), primary_key=True),
    Column("created_at", Instant, nullable=False),
)

# What people find wrong with a result; `settled_at` once an admin has looked.
reports = Table(
    "reports",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("person", String(128), nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("settled_at", Instant),
    UniqueConstraint("job_id", "person", name="reports_once_a_person"),
)

# `memory`: bytes that a job may take there. `resident`: bytes that the process holds.
executors = Table(
    "executors",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("device", String(64), nullable=False),
    Column("threads", Integer, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("host", String(255), nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("trouble", Text),
    Column("memory", BigInteger, nullable=False, server_default="0"),
    Column("resident", BigInteger, nullable=False, server_default="0"),
)

# The sets of weights that an executor can draw with, and whether they are in its memory now; "*" is any set.
shelves = Table(
    "shelves",
    metadata,
    Column("executor_id", ForeignKey("executors.id", ondelete="CASCADE"), primary_key=True),
    Column("weights", String(128), primary_key=True),
    Column("loaded", Boolean, nullable=False, server_default=false()),
)

# One judgement of a pair of results: `low_id` < `high_id`; `winner_id` is one of them, or null for neither.
votes = Table(
    "votes",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("person", String(128), nullable=False),
    Column("low_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("high_id", ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("winner_id", ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("person", "low_id", "high_id", name="votes_once_a_person"),
)

# Parameters that a person keeps under a name, for one generator with one set of weights.
presets = Table(
    "presets",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("submitter", String(128), nullable=False),
    Column("generator", String(64), nullable=False),
    Column("weights", String(128), nullable=False),
    Column("name", String(60), nullable=False),
    Column("parameters", JSON, nullable=False),
    UniqueConstraint("submitter", "generator", "weights", "name", name="presets_once_a_name"),
)

# Who has signed in. `person` is the name that jobs and votes carry; `subject` is theirs at the `issuer`.
members = Table(
    "members",
    metadata,
    Column("person", String(128), primary_key=True),
    Column("issuer", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("name", String(255), nullable=False),
    Column("email", String(255), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    UniqueConstraint("issuer", "subject", name="members_once_a_subject"),
)

# Secrets for programs, of which only the SHA-256 is kept. `scopes` are words with spaces between.
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("person", String(128), nullable=False, index=True),
    Column("name", String(60), nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
    Column("scopes", String(255), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("used_at", Instant),
    Column("expires_at", Instant),
    Column("revoked_at", Instant),
)

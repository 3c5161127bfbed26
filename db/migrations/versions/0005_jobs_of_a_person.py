"""A person's jobs, newest first, without looking through everybody's."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index("jobs_of_a_person", "jobs", ["submitter", "number"])


def downgrade() -> None:
    op.drop_index("jobs_of_a_person", "jobs")

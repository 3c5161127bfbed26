"""Run by Alembic: applies the migrations on the connection that ``db.migrate`` opened."""

from alembic import context

from db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True
)
context.run_migrations()

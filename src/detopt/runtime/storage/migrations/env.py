"""What alembic runs: all steps in the caller's transaction."""

from alembic import context

from detopt.runtime.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()

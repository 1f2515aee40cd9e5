"""The open tasks of a run in their order, and leases by their end: no claim sorts or searches."""

from alembic import op

revision = "0005"
down_revision = "0004"

OLD, NEW = "ix_task_run_id_state", "ix_task_run_id_state_position"
LATE = "ix_task_state_lease_until"


def upgrade() -> None:
    """Make the indices; the first serves also for what the old one did."""
    op.create_index(op.f(NEW), "task", ["run_id", "state", "position"], unique=False)
    op.create_index(op.f(LATE), "task", ["state", "lease_until"], unique=False)
    op.drop_index(op.f(OLD), table_name="task")


def downgrade() -> None:
    """Bring the old one back."""
    op.create_index(op.f(OLD), "task", ["run_id", "state"], unique=False)
    op.drop_index(op.f(LATE), table_name="task")
    op.drop_index(op.f(NEW), table_name="task")

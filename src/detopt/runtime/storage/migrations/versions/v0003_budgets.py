"""Budgets that runs may share, what is reserved of them, and more words in their ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

UNITS = ("cpu_h", "gpu_h", "wall_h", "money")
AMOUNTS = (*UNITS, "worker_h")


def upgrade() -> None:
    """Make the tables; the lines of the ledger stay."""
    op.create_table(
        "budget",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=True),
        *(sa.Column(f"max_{unit}", sa.Float(), nullable=True) for unit in UNITS),
        *(sa.Column(f"spent_{name}", sa.Float(), nullable=False) for name in AMOUNTS),
        *(sa.Column(f"held_{name}", sa.Float(), nullable=False) for name in AMOUNTS),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_budget")),
    )
    op.create_table(
        "reservation",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("budget_id", sa.String(length=200), nullable=False),
        sa.Column("purpose", sa.String(length=40), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in AMOUNTS),
        *(sa.Column(f"used_{name}", sa.Float(), nullable=False) for name in AMOUNTS),
        sa.Column("n_enlarged", sa.Integer(), nullable=False),
        sa.Column("started", sa.Float(), nullable=False),
        sa.Column("renewed", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["budget_id"], ["budget.id"], name=op.f("fk_reservation_budget_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_reservation_run_id")),
        sa.PrimaryKeyConstraint("run_id", "key", name=op.f("pk_reservation")),
    )
    op.create_index(op.f("ix_reservation_budget_id_state"), "reservation", ["budget_id", "state"])
    with op.batch_alter_table("ledger") as table:
        table.add_column(sa.Column("budget_id", sa.String(length=200), nullable=True))
        table.add_column(sa.Column("purpose", sa.String(length=40), nullable=True))
        table.add_column(sa.Column("worker_h", sa.Float(), nullable=True))
        table.add_column(sa.Column("note", sa.Text(), nullable=True))
        table.create_foreign_key(op.f("fk_ledger_budget_id"), "budget", ["budget_id"], ["id"])
    op.create_index(op.f("ix_ledger_budget_id_id"), "ledger", ["budget_id", "id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index(op.f("ix_ledger_budget_id_id"), table_name="ledger")
    with op.batch_alter_table("ledger") as table:
        table.drop_constraint(op.f("fk_ledger_budget_id"), type_="foreignkey")
        for name in ("note", "worker_h", "purpose", "budget_id"):
            table.drop_column(name)
    op.drop_index(op.f("ix_reservation_budget_id_state"), table_name="reservation")
    op.drop_table("reservation")
    op.drop_table("budget")

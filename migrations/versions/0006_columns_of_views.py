"""columns of views

Revision ID: 0006_columns_of_views
Revises: 0005_alerts
"""

import sqlalchemy as sa
from alembic import op

revision = "0006_columns_of_views"
down_revision = "0005_alerts"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("saved_views", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("columns", sa.String(length=200), server_default="", nullable=False)
        )


def downgrade() -> None:
    with op.batch_alter_table("saved_views", schema=None) as batch_op:
        batch_op.drop_column("columns")

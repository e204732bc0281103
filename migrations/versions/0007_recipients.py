"""recipients: whose mail it is, whatever the case in which the address was given

Revision ID: 0007_recipients
Revises: 0006_columns_of_views
"""

import sqlalchemy as sa
from alembic import op

revision = "0007_recipients"
down_revision = "0006_columns_of_views"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("email_messages", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("recipient", sa.String(length=320), server_default="", nullable=False)
        )
        batch_op.create_index(
            batch_op.f("ix_email_messages_recipient_id"), ["recipient", "id"], unique=False
        )
    bind = op.get_bind()
    if bind.dialect.name == "sqlite":  # whose own knows ASCII alone
        bind.connection.driver_connection.create_function("lower", 1, str.lower)
    op.execute("UPDATE email_messages SET recipient = lower(to_addr)")


def downgrade() -> None:
    with op.batch_alter_table("email_messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_messages_recipient_id"))
        batch_op.drop_column("recipient")

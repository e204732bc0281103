"""mail

Revision ID: 0002_mail
Revises: 0001_platform
"""

import sqlalchemy as sa
from alembic import op

from tasks.database import UtcDateTime

revision = "0002_mail"
down_revision = "0001_platform"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "email_messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("message_id", sa.String(length=200), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.String(length=40), nullable=False),
        sa.Column("stream", sa.String(length=40), nullable=False),
        sa.Column("to_addr", sa.String(length=320), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("locale", sa.String(length=10), nullable=False),
        sa.Column("ref", sa.String(length=80), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=80), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("phase", sa.String(length=20), nullable=False),
        sa.Column("smtp_code", sa.Integer(), nullable=True),
        sa.Column("enhanced", sa.String(length=12), nullable=False),
        sa.Column("smtp_text", sa.String(length=500), nullable=False),
        sa.Column("remote_queue_id", sa.String(length=80), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("possible_duplicate", sa.Boolean(), nullable=False),
        sa.Column("resent_of", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["resent_of"],
            ["email_messages.id"],
            name=op.f("fk_email_messages_resent_of_email_messages"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_messages")),
        sa.UniqueConstraint("key", name=op.f("uq_email_messages_key")),
    )
    with op.batch_alter_table("email_messages", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_email_messages_job_id"), ["job_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_email_messages_ref"), ["ref"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_email_messages_state_updated_at"), ["state", "updated_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_email_messages_to_addr_id"), ["to_addr", "id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_email_messages_type_id"), ["type", "id"], unique=False)

    op.create_table(
        "email_suppressions",
        sa.Column("address", sa.String(length=320), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("source", sa.String(length=300), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_email_suppressions")),
    )
    op.create_table(
        "email_attempts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("server", sa.String(length=200), nullable=False),
        sa.Column("phase", sa.String(length=20), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced", sa.String(length=12), nullable=False),
        sa.Column("text", sa.String(length=500), nullable=False),
        sa.Column("transcript", sa.Text(), nullable=False),
        sa.Column("reused", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email_id"],
            ["email_messages.id"],
            name=op.f("fk_email_attempts_email_id_email_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_email_attempts")),
    )
    with op.batch_alter_table("email_attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_email_attempts_email_id"), ["email_id"], unique=False)

    op.create_table(
        "email_bodies",
        sa.Column("email_id", sa.Integer(), nullable=False),
        sa.Column("html", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["email_id"],
            ["email_messages.id"],
            name=op.f("fk_email_bodies_email_id_email_messages"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("email_id", name=op.f("pk_email_bodies")),
    )
    with op.batch_alter_table("email_bodies", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_email_bodies_created_at"), ["created_at"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("email_bodies", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_bodies_created_at"))

    op.drop_table("email_bodies")
    with op.batch_alter_table("email_attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_attempts_email_id"))

    op.drop_table("email_attempts")
    op.drop_table("email_suppressions")
    with op.batch_alter_table("email_messages", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_email_messages_type_id"))
        batch_op.drop_index(batch_op.f("ix_email_messages_to_addr_id"))
        batch_op.drop_index(batch_op.f("ix_email_messages_state_updated_at"))
        batch_op.drop_index(batch_op.f("ix_email_messages_ref"))
        batch_op.drop_index(batch_op.f("ix_email_messages_job_id"))

    op.drop_table("email_messages")

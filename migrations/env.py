"""How Alembic runs orderkit's migrations: on a connection that `orderkit.migrating` opened, or as SQL text.

The transaction, the lock timeout and the wait for another who migrates are the opener's; nothing here commits.
"""

from __future__ import annotations

from alembic import context

from orderkit.schema import metadata

connection = context.config.attributes.get("connection")

if connection is None:
    context.configure(
        dialect_name=context.config.attributes["dialect_name"],
        target_metadata=metadata,
        literal_binds=True,
        output_buffer=context.config.attributes["output"],
    )
else:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)

with context.begin_transaction():
    context.run_migrations()

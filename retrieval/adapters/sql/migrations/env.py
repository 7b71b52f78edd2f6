"""Alembic's entry: the connection comes from `Database.migrate`, never from a file or the environment."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from retrieval.adapters.sql.models import Table, UtcDateTime


def _render(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our column type as what the database sees, so that migrations do not import the models."""
    return "sa.DateTime()" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    render_item=_render,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()

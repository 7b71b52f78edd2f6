"""Celery: thin tasks that take ids and call `ingest`, the outbox relay, the reaper and the reconciler."""

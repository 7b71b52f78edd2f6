"""The catalogue in a SQL database, through SQLAlchemy: SQLite in the embedded desk, PostgreSQL at scale."""

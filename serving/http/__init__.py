"""The HTTP surface: routes, schemas, identity, and how errors become problem documents."""

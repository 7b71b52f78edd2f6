"""The `refdesk` command: one module per group of commands, all of them callers of the HTTP API."""

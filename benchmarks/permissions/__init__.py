"""Random organisations on a real desk, compared with an oracle that knows nothing of the desk's code."""

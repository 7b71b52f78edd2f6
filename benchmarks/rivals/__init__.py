"""Refdesk and other retrieval libraries, measured side by side: `make bench`."""

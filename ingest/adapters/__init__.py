"""Vendor libraries behind the ports of `ingest`."""

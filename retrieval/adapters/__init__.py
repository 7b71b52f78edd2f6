"""Vendor libraries behind the ports of `retrieval`."""

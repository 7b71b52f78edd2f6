"""Vendor libraries behind the ports of `serving`."""

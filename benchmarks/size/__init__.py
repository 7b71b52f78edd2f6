"""What Refdesk's index and search cost as a corpus grows: `make bench-size`."""

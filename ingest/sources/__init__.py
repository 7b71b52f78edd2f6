"""One connector a file; each yields cheap listings, then bytes on demand."""

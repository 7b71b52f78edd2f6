"""Source -> fetch -> parse -> chunk -> embed -> index, for one document or one batch."""

"""The corpus, who may read it, and the way to search it. The bottom package: it imports no other one."""

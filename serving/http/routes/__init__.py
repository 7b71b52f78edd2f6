"""Routes by what they are about: thin, each a call of one use case."""

"""One module per family of formats, each with `read(source) -> Draft`; loaded by `ingest.parsing`."""

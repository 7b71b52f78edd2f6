"""Errors of ingestion. Every failed document carries one of these codes: the list is closed.

RefdeskError
  IngestError
    SourceError                 the source as a whole could not be read
      SourceUnavailableError    source_unavailable   (retryable)
      InvalidSourceError        invalid_source       its location or an option cannot be understood
      ListingShrankError        listing_shrank       an empty or much shorter listing: held, nothing deleted
    StorageFullError            storage_full         (retryable) indexing waits for room on the disk
    ParserUnavailableError      parser_unavailable   (retryable) no parser process can be started
    DocumentError               one document could not be taken in
      FetchFailedError          fetch_failed         (retryable) listed, but its bytes could not be read
      UnsupportedTypeError      unsupported_type     no parser for what the bytes are
      EmptyFileError            empty_file           no bytes
      NoTextError               no_text              well-formed, but holds no text (a scan, a picture)
      EncryptedError            encrypted            needs a password
      CorruptError              corrupt              damaged, or not what it claims to be inside
      TooLargeError             too_large            over the stated size limit
      ExpansionError            expansion_limit      an archive that unpacks beyond its budget
      ParserTimeoutError        parser_timeout       over the time budget
      ParserMemoryError         parser_memory        over the memory budget
      ParserCrashedError        parser_crashed       the parser process died
"""

from __future__ import annotations

from retrieval.errors import RefdeskError


class IngestError(RefdeskError):
    """Base of the errors raised by `ingest`."""


class SourceError(IngestError):
    """A source as a whole could not be read."""


class SourceUnavailableError(SourceError):
    """The source did not answer or does not exist."""

    code = "source_unavailable"
    retryable = True
    hint = "Check that the folder or site exists and can be read by the desk, then sync again."


class InvalidSourceError(SourceError):
    """The source's location or one of its options cannot be understood."""

    code = "invalid_source"
    hint = "Correct the named option of the source; docs/connectors.md lists them."


class ListingShrankError(SourceError):
    """The listing is empty or lacks so many documents that deleting them needs a person's word."""

    code = "listing_shrank"
    hint = "Check the source; if the documents are really gone, sync again and confirm the deletions."


class StorageFullError(IngestError):
    """The disk is nearly full; indexing waits, and goes on by itself once there is room."""

    code = "storage_full"
    retryable = True
    hint = "Make room on the disk of the state folder."


class ParserUnavailableError(IngestError):
    """No parser process can be started: nothing is wrong with the document."""

    code = "parser_unavailable"
    retryable = True
    hint = "Operators: see `refdesk doctor`; the document is tried again by itself."


class DocumentError(IngestError):
    """One document could not be taken in."""


class FetchFailedError(DocumentError):
    """The document was listed, but its bytes could not be read."""

    code = "fetch_failed"
    retryable = True
    hint = "Check that the file still exists and can be read, then re-index the document."


class UnsupportedTypeError(DocumentError):
    """No parser reads what the bytes are."""

    code = "unsupported_type"
    hint = "Save the document in a supported format (docs/operations.md lists them)."


class EmptyFileError(DocumentError):
    """The file has no bytes."""

    code = "empty_file"
    hint = "Upload the document again; the copy in the source is empty."


class NoTextError(DocumentError):
    """The file is well-formed but holds no text."""

    code = "no_text"
    hint = "It may be a scan or a picture: add a text layer (OCR) and re-index the document."


class EncryptedError(DocumentError):
    """The file needs a password."""

    code = "encrypted"
    hint = "Save a copy without a password and re-index the document."


class CorruptError(DocumentError):
    """The file is damaged, or is not what it claims to be inside."""

    code = "corrupt"
    hint = "Open and save the document in its own program, then re-index it."


class TooLargeError(DocumentError):
    """The file is over the stated size limit."""

    code = "too_large"
    hint = "Split the document, or raise REFDESK_MAX_FILE_MB."


class ExpansionError(DocumentError):
    """The file unpacks beyond its budget of bytes, entries or depth."""

    code = "expansion_limit"
    hint = "Unpack the archive yourself and add the documents you need."


class ParserTimeoutError(DocumentError):
    """The parser ran over its time budget and was killed."""

    code = "parser_timeout"
    hint = "Split the document or save it in a simpler format, then re-index it."


class ParserMemoryError(DocumentError):
    """The parser ran over its memory budget and was killed."""

    code = "parser_memory"
    hint = "Split the document or save it in a simpler format, then re-index it."


class ParserCrashedError(DocumentError):
    """The parser process died while reading the file."""

    code = "parser_crashed"
    hint = "Save the document in another format and re-index it; please report the file to your operator."

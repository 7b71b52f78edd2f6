"""What the HTTP API reads and writes, as pydantic models."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from retrieval.corpus import SOURCE_KINDS, AclAge, DocumentState
from retrieval.labels import MAX_LABELS, Label, LabelOrigin, labels_named
from retrieval.query import SearchMode
from retrieval.sections import Standing
from serving.answer import AnswerMode, ReasoningEffort
from serving.scopes import Scope

MAX_TEXT_CHARS = 4000


def _storable(text: str) -> str:
    """Refuse what a database cannot keep."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains a NUL or half a surrogate pair")
    return text


def _known_kind(kind: str) -> str:
    """Refuse a kind of source that no connector reads."""
    if kind not in SOURCE_KINDS:
        raise ValueError(f"is none of {', '.join(SOURCE_KINDS)}")
    return kind


def _plausible(moment: datetime) -> datetime:
    """Refuse moments that cannot be turned into UTC or stored."""
    if not 1900 <= moment.year <= 2200:
        raise ValueError("lies outside the years 1900 to 2200")
    return moment.astimezone(UTC)


Storable = Annotated[str, AfterValidator(_storable)]
Line = Annotated[Storable, Field(max_length=1024)]
Name = Annotated[Storable, Field(min_length=1, max_length=200)]
Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]
Id = Annotated[Storable, Field(min_length=1, max_length=255)]
Options = Annotated[
    dict[Name, JsonValue],
    Field(max_length=50, description="What the connector needs; secrets are named, never written."),
]
Strings = Annotated[tuple[Line, ...], Field(max_length=100)]
Labels = Annotated[
    tuple[Annotated[Label, Field(max_length=64)], ...],
    Field(max_length=MAX_LABELS, description="`no-ai`, `hold`, `retention:<class>`."),
    AfterValidator(labels_named),
]
Heading = Annotated[Line, Field(pattern=r"\S")]


class Incoming(BaseModel):
    """A body that is read; unknown fields are refused, so that a misspelt filter is no wider search."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Outgoing(BaseModel):
    """A body that is written."""

    model_config = ConfigDict(frozen=True)


# --- errors


class Problem(Outgoing):
    """An error (RFC 9457). `code` is stable; docs/errors.md lists the codes."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str
    request_id: str
    retryable: bool


# --- search and answers


class FiltersIn(Incoming):
    """Narrowing of a search. Every field that is given must match; within a list, any value may."""

    sources: Strings = ()
    media_types: Strings = ()
    languages: Strings = ()
    tags: Strings = ()
    documents: Strings = ()
    path_prefix: Line = ""
    modified_after: Moment | None = None
    modified_before: Moment | None = None


class SearchIn(Incoming):
    """A search."""

    query: Annotated[Storable, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
    limit: Annotated[int, Field(ge=1, le=200)] = 10
    filters: FiltersIn = FiltersIn()
    group_by_document: bool = True
    explain: bool = False
    mode: SearchMode = SearchMode.HYBRID


class HitOut(Outgoing):
    """A passage that the caller may read. `highlights` are spans within `text`."""

    document_id: str
    chunk_id: str
    source_id: str
    external_id: str
    title: str
    url: str
    heading_path: list[str]
    page: int | None
    score: float
    text: str
    highlights: list[tuple[int, int]]
    version: int
    modified_at: datetime
    media_type: str
    superseded_by: str | None
    labels: list[str] = []
    explanation: dict[str, float] | None = None


class SearchOut(Outgoing):
    """Hits, best first. `facets` count documents among what matched and may be read.

    `degraded` names what was left out because it failed, by error code: `reranker_unavailable`.
    """

    hits: list[HitOut]
    facets: dict[str, dict[str, int]]
    took_ms: float
    request_id: str
    degraded: list[str] = []
    timings_ms: dict[str, float] | None = None


class PreviewIn(SearchIn):
    """A search as a user of the directory would make it."""

    user_id: Id


class PreviewOut(SearchOut):
    """What a user would find: `everything`, or of that what the caller owns.

    `seen_as` is the user. `notice` says in a sentence whose view this is, to be shown with it.
    """

    seen_as: str
    among: Literal["own", "everything"]
    notice: str


class AnswerIn(Incoming):
    """A question."""

    question: Annotated[Storable, Field(min_length=1, max_length=MAX_TEXT_CHARS)]
    conversation_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")] | None = None
    filters: FiltersIn = FiltersIn()
    stream: bool = False
    reasoning_effort: ReasoningEffort = ReasoningEffort.LOW
    mode: AnswerMode = AnswerMode.AUTO


class CitationOut(Outgoing):
    """What a marker `[n]` in the answer points to; `start` and `end` are offsets in the document's text."""

    marker: int
    document_id: str
    chunk_id: str
    title: str
    url: str
    page: int | None
    heading_path: list[str]
    quote: str
    start: int
    end: int
    support: float


class StepOut(Outgoing):
    """One thing the desk did, with its duration."""

    name: str
    ms: float
    detail: str


class ModelOut(Outgoing):
    """What wrote the answer."""

    name: str
    revision: str
    generator: str


class AnswerOut(Outgoing):
    """An answer. `abstained` means that nothing the caller may read answers the question.

    `withheld` counts passages, of the best ones that the caller may read, that a label kept out of the answer.
    """

    answer: str
    citations: list[CitationOut]
    abstained: bool
    conflicts: list[str]
    references: list[HitOut]
    activity: list[StepOut]
    model: ModelOut
    request_id: str
    ai_generated: Literal[True] = True
    conversation_id: str
    usage: dict[str, int]
    fallback_reason: str
    withheld: int


class FeedbackIn(Incoming):
    """A reader's word on an answer."""

    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    rating: Literal[-1, 1]
    comment: Annotated[Storable, Field(max_length=MAX_TEXT_CHARS)] = ""


# --- documents


class AclIn(Incoming):
    """An access list: `user:<id>`, `group:<name>` or a bare group name. Nobody is let in by default."""

    allow: Strings = ()
    deny: Strings = ()
    owner: Annotated[Id | None, Field(description="User id; left out, it stays or is the caller's.")] = None


class SectionIn(Incoming):
    """Who may read a section, of those who may read the document. The owner always may.

    `heading` are headings that follow one another down to the section, outermost first; everything at or below
    them belongs to it. `confirmed` keeps the rule, and opens the rest of the document, though the live text has
    lost the heading.
    """

    heading: Annotated[tuple[Heading, ...], Field(min_length=1, max_length=20)]
    allow: Strings = ()
    deny: Strings = ()
    confirmed: bool = False


Sections = Annotated[tuple[SectionIn, ...], Field(max_length=100)]


class DocumentAclIn(AclIn):
    """A document's access list. `sections` left out, the rules for its parts stay; empty, they go."""

    sections: Sections | None = None


class AclOut(Outgoing):
    """An access list."""

    owner: str
    allow: list[str]
    deny: list[str]


class SectionOut(Outgoing):
    """Who may read a section.

    `standing` is `found`, `absent` (the live text does not have the heading), `lost` (it had, or should have it:
    the rule counts for the whole text until it is confirmed or changed) or `awaited` (for a text that is not live
    yet). `readers` are whom document and rule both name, the owner apart; nobody else reads the section.
    """

    heading: list[str]
    allow: list[str]
    deny: list[str]
    standing: Standing
    readers: list[str]


class DocumentAclOut(AclOut):
    """A document's access list, with the rules for its parts."""

    sections: list[SectionOut]


class PushIn(Incoming):
    """A document that a client sends: exactly one of `text` and `bytes` (base64)."""

    source_id: Id
    external_id: Annotated[Storable, Field(min_length=1, max_length=1024)]
    title: Line = ""
    url: Annotated[Storable, Field(max_length=2048, pattern=r"^(https?://\S+)?$")] = ""
    text: str | None = None
    bytes: str | None = None
    acl: AclIn | None = None
    sections: Sections | None = None
    labels: Labels | None = None
    metadata: dict[Name, JsonValue] = Field(default_factory=dict)


class LabelsIn(Incoming):
    """Labels that a person sets on a document; those that its source or its text states stay beside them."""

    labels: Labels


class LabelOut(Outgoing):
    """A label of a document and who set it: the same one may come from several."""

    name: str
    origin: LabelOrigin


class LabelsOut(Outgoing):
    """The labels of a document. It is kept until `kept_until`, null for any time; `held` stops that."""

    document_id: str
    labels: list[LabelOut]
    kept_until: datetime | None
    held: bool


class ExpiringOut(Outgoing):
    """A document whose period of retention ends."""

    document_id: str
    source_id: str
    external_id: str
    title: str
    classes: list[str]
    kept_until: datetime


class RetentionOut(Outgoing):
    """Documents that end within the days asked for, the next one first.

    `classes` are all classes with their days. `others` counts documents that the caller may not read; null for
    whoever is no administrator.
    """

    classes: dict[str, int]
    documents: list[ExpiringOut]
    others: int | None


class DocumentsQuery(Incoming):
    """How a listing of documents is narrowed and paged."""

    state: DocumentState | None = None
    source: Line = ""
    q: Line = ""
    path: Annotated[Line, Field(description="Start of the external id, for example `people/`.")] = ""
    mine: bool = False
    cursor: Annotated[str, Field(max_length=8192)] = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class ExplanationOut(Outgoing):
    """What happened, what the desk does next by itself, and what the owner can do: sentences for people.

    `is_trouble` says whether somebody should look; what takes its course needs nobody.
    """

    happened: str
    next: str
    advice: str
    is_trouble: bool


class DocumentOut(Outgoing):
    """A document's record. `acl` shows to those who may change it.

    With `parts_only`, the caller may not read all of its text. `explanation` is null for a document that is live.
    `parent_id` names the document that this one was found in (a mail's attachment, an archive's file); whoever may
    read this one may read that one, too. `kept_until` is when its period of retention ends, null for never; it does
    not while it is `held`.
    """

    id: str
    parent_id: str | None
    source_id: str
    external_id: str
    title: str
    url: str
    media_type: str
    language: str
    tags: list[str]
    owner: str
    state: DocumentState
    error_code: str
    error_message: str
    retryable: bool
    attempts: int
    warnings: list[str]
    size_bytes: int
    superseded_by: str
    version: int | None
    modified_at: datetime
    created_at: datetime
    updated_at: datetime
    can_manage: bool
    acl: DocumentAclOut | None
    parts_only: bool
    explanation: ExplanationOut | None
    labels: list[LabelOut]
    kept_until: datetime | None
    held: bool


class DocumentsOut(Outgoing):
    """A page of documents; `next_cursor` gives the next one."""

    documents: list[DocumentOut]
    next_cursor: str | None
    counts: dict[str, int]


class VersionOut(Outgoing):
    """One reading of a document: when, by whom and why.

    `content_hash` is empty and `n_chunks` null for whoever may read only parts of the document.
    """

    id: str
    number: int
    content_hash: str
    media_type: str
    size_bytes: int
    n_chunks: int | None
    reason: str
    requested_by: str
    created_at: datetime
    live_at: datetime | None
    replaced_at: datetime | None


class VersionsOut(Outgoing):
    """Versions, newest first."""

    versions: list[VersionOut]


class ChunkOut(Outgoing):
    """A passage of the live version."""

    chunk_id: str
    position: int
    text: str
    start: int
    end: int
    heading_path: list[str]
    page: int | None
    context: str


class ChunksOut(Outgoing):
    """Passages in reading order; `next_start` gives the next page."""

    chunks: list[ChunkOut]
    next_start: int | None


class RunDocumentsOut(Outgoing):
    """What became of the documents that a run queued."""

    live: int
    failed: int
    cancelled: int
    unfinished: int


class JobOut(Outgoing):
    """Accepted work. `done` counts of `total`; `total` 0 means not known yet.

    A sync is finished when it has compared everything, and over when the documents that it queued are done
    too; `documents` counts those. `run_id` names the run that a document's job belongs to.
    """

    id: str
    kind: str
    state: str
    document_id: str | None
    source_id: str | None
    attempt: int
    error_code: str
    error_message: str
    parameters: dict[str, Any]
    report: dict[str, Any]
    done: int
    total: int
    requested_by: str
    reason: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_attempt_at: datetime | None = None
    run_id: str | None = None
    documents: RunDocumentsOut | None = None
    is_over: bool


class HistoryOut(Outgoing):
    """Versions and jobs of a document, newest first."""

    document_id: str
    versions: list[VersionOut]
    jobs: list[JobOut]


class TextOut(Outgoing):
    """Extracted text of the live version; citations' offsets point into it."""

    document_id: str
    title: str
    version: int | None
    text: str
    blocks: list[dict[str, Any]]


class AcceptedOut(Outgoing):
    """Work was accepted and is committed."""

    job: JobOut
    document_id: str | None = None
    source_id: str | None = None


class AccessSetOut(AcceptedOut):
    """The access list counts from this reply on; the job tells the index.

    `warnings` has `section_absent` when the live text lacks the heading of a rule, `section_lost` when that closes
    the whole text to those whom the rule does not let in.
    """

    acl: DocumentAclOut
    warnings: list[str]


class ReindexIn(Incoming):
    """Which documents to read anew. `path` is an external id or a folder with everything below it."""

    path: Line = ""
    only_failed: bool = False


class ReindexManyIn(ReindexIn):
    """Which of one's own documents to read anew. What is left out does not narrow."""

    source_id: Id | None = None


class RequeuedOut(Outgoing):
    """Documents were queued. `job` stands for them: it is over when they are done.

    Those of paused sources are left out; those that were queued before keep their job.
    """

    job: JobOut
    queued: int
    already_queued: int
    paused: int


class IndexOut(Outgoing):
    """An index, by its embedder, chunker and sparse encoder; `can_answer`: whether its model is there."""

    name: str
    state: Literal["building", "active", "retired"]
    fingerprint: str
    average_length: float
    can_answer: bool
    created_at: datetime
    activated_at: datetime | None


class IndexesOut(Outgoing):
    """The indexes on record, the one that answers first."""

    indexes: list[IndexOut]


class JobsOut(Outgoing):
    """Jobs, newest first."""

    jobs: list[JobOut]


# --- sources


class SourceIn(Incoming):
    """A source to create."""

    id: Annotated[str, Field(pattern=r"^([a-z0-9][a-z0-9_-]{0,62})?$")] = ""
    name: Name
    kind: Annotated[str, AfterValidator(_known_kind), Field(json_schema_extra={"enum": list(SOURCE_KINDS)})]
    location: Annotated[Storable, Field(max_length=4096)] = ""
    acl: AclIn = AclIn()
    options: Options = Field(default_factory=dict)
    labels: Annotated[Labels, Field(description="Of every document of the source.")] = ()


class SourceChangeIn(Incoming):
    """What changes about a source; fields that are left out stay. Null ends a schedule or a target."""

    name: Name | None = None
    options: Options | None = None
    sync_every_s: Annotated[int, Field(ge=60, le=30 * 86_400)] | None = None
    freshness_s: Annotated[int, Field(ge=60, le=365 * 86_400)] | None = None
    acl_every_s: Annotated[int, Field(ge=60, le=30 * 86_400)] | None = None
    acl_max_age_s: Annotated[int, Field(ge=60, le=365 * 86_400)] | None = None
    paused: bool | None = None
    labels: Labels | None = None


class SourceOut(Outgoing):
    """A source. `location`, `options` and `acl` show to those who may change it. All its documents have `labels`.

    `age_s` is the time since the last good sync of the whole source; it is `overdue` when that is longer than
    `freshness_s`, the age that its owner accepts. `acl_age_s` is the time since its access lists were last
    confirmed in full; over `acl_max_age_s` they are `outdated`, and its documents are shown to nobody until the
    next refresh that ends well. `unknown_groups` are those that access lists of its documents name and nobody
    knows; they match nobody until they arrive. They show to those who may change the source.
    """

    id: str
    name: str
    kind: str
    owner: str
    created_at: datetime
    synced_at: datetime | None
    error_code: str
    error_message: str
    documents_by_state: dict[str, int]
    can_manage: bool
    is_read: Annotated[bool, Field(description="Whether the desk reads it by itself.")]
    sync_every_s: int | None
    next_sync_at: datetime | None
    freshness_s: int | None
    age_s: float | None
    overdue: bool
    acl_every_s: int | None
    next_acl_at: datetime | None
    acl_max_age_s: int | None
    acl_confirmed_at: datetime | None
    acl_age_s: float | None
    acl_state: AclAge
    acl_error_code: str
    paused_at: datetime | None
    location: str | None
    options: dict[str, Any] | None
    acl: AclOut | None
    unknown_groups: list[str]
    explanation: ExplanationOut | None
    labels: list[str]


class SourcesOut(Outgoing):
    """Sources in order of name."""

    sources: list[SourceOut]


class SyncIn(Incoming):
    """How to sync. `dry_run` shows what would change; `confirm_deletions` allows a mass deletion.

    `access_only` refreshes the permission data: it fetches, adds and deletes nothing.
    """

    dry_run: bool = False
    confirm_deletions: bool = False
    access_only: bool = False


# --- identity, keys, directory, audit


class WhoAmIOut(Outgoing):
    """The caller, as the desk sees it. `name` is what its provider calls it; may be empty."""

    user_id: str
    name: str
    groups: list[str]
    scopes: list[str]
    acting_for: bool
    identity: str


class ExplainIn(Incoming):
    """Why may a user read a document, or why not?"""

    user_id: Id
    document_id: Id


class RuleOut(Outgoing):
    """One rule; `because` names the principals through which it applies."""

    rule: str
    applies: bool
    because: list[str]
    decides: bool


class SectionReadOut(Outgoing):
    """Whether a user may read a section that a rule is about."""

    heading: list[str]
    may_read: bool


class ExplainOut(Outgoing):
    """The rules in the order in which they are applied: deny, owner, allow.

    The rule outdated comes first where the permission data of the document's source are too old: nobody reads it.
    `reads_whole` says whether every part may be read; `sections` show to those who may change the access list.
    """

    user_id: str
    document_id: str
    may_read: bool
    known_user: bool
    principals: list[str]
    deny_only: list[str]
    rules: list[RuleOut]
    reads_whole: bool
    sections: list[SectionReadOut]


class KeyIn(Incoming):
    """A key to make; for the caller, unless `user_id` says otherwise."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=50)]
    user_id: Id | None = None
    expires_at: Moment | None = None


class RotateIn(Incoming):
    """How long the old key stays valid beside the new one, in seconds; 0 ends it at once."""

    grace_s: Annotated[int, Field(ge=0, le=7 * 86400)] = 0


class KeyOut(Outgoing):
    """A key without its secret."""

    id: str
    prefix: str
    name: str
    user_id: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class NewKeyOut(Outgoing):
    """A new key. `secret` is the whole credential; it is shown this once."""

    key: KeyOut
    secret: str


class KeysOut(Outgoing):
    """Keys, newest first."""

    keys: list[KeyOut]


class AuditRecordOut(Outgoing):
    """One record of the audit trail. `erased` names what was erased of it: the principal, for `actor`."""

    sequence: int
    at: datetime
    event: str
    principal: str
    request_id: str
    body: dict[str, Any]
    erased: list[str]
    previous_hash: str
    hash: str


class AuditOut(Outgoing):
    """Records, oldest first; `next_after` gives the next page."""

    records: list[AuditRecordOut]
    next_after: int | None


class TallyOut(Outgoing):
    """Counts over some answers; `askers` are distinct people."""

    questions: int
    found: int
    not_found: int
    tokens: int
    askers: int


class DayUsageOut(TallyOut):
    """Counts of one day."""

    day: date


class SourceUsageOut(TallyOut):
    """Counts of answers that drew on one source; `name` is empty where the caller does not see the source."""

    source_id: str
    name: str


class UsageOut(Outgoing):
    """How the desk was used since a day, in UTC.

    `rest_of_days` and `rest_of_sources` hold what too few people asked to be shown by itself; null when there is
    nothing, or when the desk has too few people to break anything down.
    """

    since: date
    total: TallyOut
    days: list[DayUsageOut]
    rest_of_days: TallyOut | None
    sources: list[SourceUsageOut]
    rest_of_sources: TallyOut | None


class TroubleOut(Outgoing):
    """A document or a source that somebody should look at; `document_id` is null for a source."""

    source_id: str
    document_id: str | None
    name: str
    state: str
    explanation: ExplanationOut | None


class StatusOut(Outgoing):
    """Where the desk stands, counting what the caller may see.

    `troubles` are the sources that the caller owns and the documents that it may read with which something is
    wrong, at most 20 documents. `unknown_groups` are those that access lists in sources that the caller may change
    name and nobody knows.
    """

    version: str
    documents_by_state: dict[str, int]
    passages: int
    unfinished_jobs: int
    generator: str
    identity: str
    troubles: list[TroubleOut]
    unknown_groups: list[str]


# --- OpenAI-compatible


class Lenient(BaseModel):
    """A body in OpenAI's shape; fields that the desk has no use for are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ContentPart(Lenient):
    """A part of a message; only text is read."""

    type: str
    text: str = ""


class ChatMessage(Lenient):
    """A message. Only `user` and `assistant` are read: nobody but the desk instructs the model."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        """All text of the message."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class StreamOptions(Lenient):
    """Options of a streamed completion."""

    include_usage: bool = False


class ChatIn(Lenient):
    """A chat completion. The last `user` message is the question, those before it are its history."""

    model: Annotated[str, Field(max_length=200)] = "refdesk"
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    reasoning_effort: Annotated[str, Field(max_length=20)] | None = None

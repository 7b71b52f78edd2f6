"""Tables of the catalogue. Every change here comes with an Alembic migration; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC. SQLite stores no zone, so it is taken off on the way in and put back on the way out."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive values; store UTC without zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        return None if value is None else value.replace(tzinfo=UTC)


class Table(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads this name from the class
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
        str: Text,
    }


_Id = String(64)


class SourceRow(Table):
    """A configured origin of documents.

    `options` is what the connector needs beyond the location; secrets are named there, never written.
    `sync_every_s` and `next_sync_at` are the schedule, `freshness_s` the age that the owner accepts.
    `acl_every_s` and `next_acl_at` are the schedule of its permission data, `acl_confirmed_at` when the last
    good listing of them began, `acl_max_age_s` the age up to which they count, and `acl_valid_until` what
    follows from the two (`retrieval.adapters.sql.permission_age` writes it): documents are shown before it only.
    A source that was removed keeps its row, because its documents' tombstones and its runs refer to it.
    """

    __tablename__ = "sources"
    __table_args__ = (Index("ix_sources_acl_valid_until", "acl_valid_until"),)

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    location: Mapped[str]
    owner: Mapped[str]
    allow: Mapped[list[str]]
    deny: Mapped[list[str]]
    created_at: Mapped[datetime]
    synced_at: Mapped[datetime | None]
    error_code: Mapped[str] = mapped_column(default="")
    error_message: Mapped[str] = mapped_column(default="")
    options: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    sync_every_s: Mapped[int | None]
    freshness_s: Mapped[int | None]
    next_sync_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    acl_every_s: Mapped[int | None]
    acl_max_age_s: Mapped[int | None]
    acl_confirmed_at: Mapped[datetime | None]
    acl_valid_until: Mapped[datetime | None]
    next_acl_at: Mapped[datetime | None]
    acl_error_code: Mapped[str] = mapped_column(default="", server_default="")
    labels: Mapped[list[SourceLabelRow]] = relationship(lazy="selectin", viewonly=True)


class DocumentRow(Table):
    """A document and where it stands.

    `live_version_id` is what readers see; switching it is atomic. `acl_epoch` counts changes of the access
    list; where `indexed_acl_epoch` lags behind, the index has yet to hear of it. `acl_origin` is `manual`
    once a person set the list: a sync leaves it alone then. `parent_id` names the document that this one was
    found in: the mail of an attachment, the archive of a file. `section_rules` say who reads parts of it, null
    where there are none (`retrieval.adapters.sql.section_rules`).
    """

    __tablename__ = "documents"
    __table_args__ = (
        UniqueConstraint("source_id", "external_id"),
        Index("ix_documents_state", "state"),
        Index("ix_documents_title_id", "title", "id"),
        Index("ix_documents_parent_id", "parent_id"),
        Index(
            "ix_documents_section_rules",
            "source_id",
            sqlite_where=text("section_rules IS NOT NULL"),
            postgresql_where=text("section_rules IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"))
    external_id: Mapped[str]
    parent_id: Mapped[str | None] = mapped_column(_Id)
    title: Mapped[str]
    source_title: Mapped[str]
    url: Mapped[str]
    media_type: Mapped[str] = mapped_column(default="")
    language: Mapped[str] = mapped_column(default="und")
    tags: Mapped[list[str]]
    owner: Mapped[str]
    state: Mapped[str]
    error_code: Mapped[str] = mapped_column(default="")
    error_message: Mapped[str] = mapped_column(default="")
    retryable: Mapped[bool] = mapped_column(default=False)
    attempts: Mapped[int] = mapped_column(default=0)
    warnings: Mapped[list[str]]
    fingerprint: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    superseded_by: Mapped[str] = mapped_column(default="")
    live_version_id: Mapped[str | None] = mapped_column(_Id)
    acl_origin: Mapped[str] = mapped_column(String(8), default="source")
    section_rules: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    acl_epoch: Mapped[int] = mapped_column(default=0)
    indexed_acl_epoch: Mapped[int] = mapped_column(default=0)
    modified_at: Mapped[datetime]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class AclEntryRow(Table):
    """One line of a document's access list. `effect` is `allow` or `deny`."""

    __tablename__ = "acl_entries"
    __table_args__ = (Index("ix_acl_entries_principal_id", "principal_id"),)

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"), primary_key=True)
    effect: Mapped[str] = mapped_column(String(5), primary_key=True)
    principal_id: Mapped[str] = mapped_column(String(255), primary_key=True)


class DocumentLabelRow(Table):
    """A label of a document, and who has set it (`retrieval.labels.LabelOrigin`)."""

    __tablename__ = "document_labels"
    __table_args__ = (Index("ix_document_labels_label", "label"),)

    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"), primary_key=True)
    origin: Mapped[str] = mapped_column(String(8), primary_key=True)
    label: Mapped[str] = mapped_column(String(64), primary_key=True)


class SourceLabelRow(Table):
    """A label that every document of a source has."""

    __tablename__ = "source_labels"

    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    label: Mapped[str] = mapped_column(String(64), primary_key=True)


class VersionRow(Table):
    """One reading of a document: which bytes, by which recipe, asked for by whom."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("document_id", "number"),)

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"))
    number: Mapped[int]
    content_hash: Mapped[str] = mapped_column(String(64))
    recipe: Mapped[str]
    title: Mapped[str]
    media_type: Mapped[str]
    language: Mapped[str]
    facts: Mapped[dict[str, Any]]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    n_chunks: Mapped[int]
    reason: Mapped[str]
    requested_by: Mapped[str]
    created_at: Mapped[datetime]
    live_at: Mapped[datetime | None]
    replaced_at: Mapped[datetime | None]


class ChunkRow(Table):
    """A passage of a version. The text stands here, so the index can be rebuilt without parsing.

    `section_paths` are the full heading paths of all its text, null where `heading_path` says as much.
    """

    __tablename__ = "chunks"
    __table_args__ = (Index("ix_chunks_version_id_position", "version_id", "position"),)

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id"))
    version_id: Mapped[str] = mapped_column(ForeignKey("versions.id"))
    position: Mapped[int]
    start: Mapped[int]
    end: Mapped[int]
    page: Mapped[int | None]
    heading_path: Mapped[list[str]]
    section_paths: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    context: Mapped[str]
    text: Mapped[str]
    n_tokens: Mapped[int]
    n_terms: Mapped[int]


class UserRow(Table):
    """Somebody the desk knows.

    `login` is the name that a provisioning system gives the user (SCIM's userName), `login_key` the same in
    lower case, by which it is found; `source` is who provisions the user, empty for the directory itself. A
    deleted user stays as a row that is disabled, so that its id is not given to somebody else.
    """

    __tablename__ = "users"
    __table_args__ = (Index("ix_users_login_key", "login_key"), Index("ix_users_external_id", "external_id"))

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str]
    login: Mapped[str]
    login_key: Mapped[str]
    external_id: Mapped[str | None]
    source: Mapped[str] = mapped_column(String(100))
    details: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class GroupRow(Table):
    """A group that the desk knows. `id` is its principal id, `source` what qualifies it there.

    `incomplete_since` is when its source last failed to list all members; empty while the list is whole.
    """

    __tablename__ = "groups"
    __table_args__ = (Index("ix_groups_source", "source"),)

    id: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str]
    source: Mapped[str] = mapped_column(String(255))
    external_id: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    incomplete_since: Mapped[datetime | None]


class IdentityRow(Table):
    """Another id by which a user is known: at an OpenID provider, at a source, or as a mail address.

    A link that has ended stays as a row, so that the id is not given to somebody else by accident.
    """

    __tablename__ = "identities"
    __table_args__ = (
        Index("ix_identities_user_id", "user_id"),
        Index("ix_identities_known_as", "known_as", unique=True),
    )

    issuer: Mapped[str] = mapped_column(String(100), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    known_as: Mapped[str] = mapped_column(String(255))
    user_id: Mapped[str] = mapped_column(String(255))
    linked_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class MembershipRow(Table):
    """A user or group that is a direct member of a group. Both are principal ids."""

    __tablename__ = "memberships"
    __table_args__ = (Index("ix_memberships_member_id", "member_id"),)

    group_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    member_id: Mapped[str] = mapped_column(String(255), primary_key=True)


class ApiKeyRow(Table):
    """An API key. Only a hash of the secret is stored."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    secret_hash: Mapped[str] = mapped_column(String(64))
    name: Mapped[str]
    user_id: Mapped[str] = mapped_column(String(255))
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SessionRow(Table):
    """Somebody who signed in with a browser. `id` is a hash of the random value in the browser's cookie.

    `groups` are those that the provider named at sign-in; null when it named none and the directory decides.
    """

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user_id", "user_id"),)

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255))
    name: Mapped[str]
    groups: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    begun_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ends_at: Mapped[datetime]


class JobRow(Table):
    """Work that was accepted. `active_key` is unique while the job is not finished: one job per thing.

    `run_id` is the sync job that found this one's document. `attempt` counts attempts that ended by themselves
    or go on, `deaths` workers that died while they read the document. `woken_at` is when its message was last
    handed to the broker.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_priority_id", "state", "priority", "id"),
        Index("ix_jobs_document_id", "document_id"),
        Index("ix_jobs_source_id", "source_id"),
        Index("ix_jobs_run_id", "run_id"),
    )

    id: Mapped[str] = mapped_column(_Id, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    document_id: Mapped[str | None] = mapped_column(ForeignKey("documents.id"))
    source_id: Mapped[str | None] = mapped_column(ForeignKey("sources.id"))
    run_id: Mapped[str | None] = mapped_column(_Id)
    state: Mapped[str] = mapped_column(String(16))
    active_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    priority: Mapped[int] = mapped_column(default=5)
    attempt: Mapped[int] = mapped_column(default=0)
    deaths: Mapped[int] = mapped_column(default=0, server_default="0")
    woken_at: Mapped[datetime | None]
    lease_token: Mapped[str] = mapped_column(String(64), default="")
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    error_code: Mapped[str] = mapped_column(default="")
    error_message: Mapped[str] = mapped_column(default="")
    parameters: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    requested_by: Mapped[str]
    reason: Mapped[str]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class OutboxRow(Table):
    """A task to be sent to the queue; written in the transaction that needs it, dropped once it is sent."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    task: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str] = mapped_column(_Id)
    created_at: Mapped[datetime]


class AuditRow(Table):
    """One record of the audit trail; `hash` covers the record and the one before it (retrieval/audit.py)."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_request_id", "request_id"),)

    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    event: Mapped[str] = mapped_column(String(32))
    request_id: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    commitments: Mapped[dict[str, Any]]
    format: Mapped[int]
    previous_hash: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)


class AuditPartRow(Table):
    """What a record of the audit trail says of persons; erased, the row is gone, the commitment to it stays."""

    __tablename__ = "audit_parts"

    sequence: Mapped[int] = mapped_column(ForeignKey("audit.sequence"), primary_key=True)
    part: Mapped[str] = mapped_column(String(16), primary_key=True)
    salt: Mapped[str] = mapped_column(String(64))
    content: Mapped[dict[str, Any]]


class IndexRow(Table):
    """An index that was built or is being built, and by what. No two are in one `state` (`IndexState`)."""

    __tablename__ = "indexes"
    __table_args__ = (UniqueConstraint("state"),)

    name: Mapped[str] = mapped_column(_Id, primary_key=True)
    fingerprint: Mapped[str]
    average_length: Mapped[float]
    languages: Mapped[list[str]]
    created_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), server_default="active")
    activated_at: Mapped[datetime | None]


class ConversationTurnRow(Table):
    """A question or an answer of a conversation; visible to the user who led it and to nobody else."""

    __tablename__ = "conversation_turns"
    __table_args__ = (Index("ix_conversation_turns_conversation_id_id", "conversation_id", "id"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    conversation_id: Mapped[str] = mapped_column(_Id)
    user_id: Mapped[str] = mapped_column(String(255))
    role: Mapped[str] = mapped_column(String(16))
    text: Mapped[str]
    created_at: Mapped[datetime]


class FeedbackRow(Table):
    """A reader's word on an answer. `rating` is -1 or 1."""

    __tablename__ = "feedback"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[str] = mapped_column(String(255))
    rating: Mapped[int]
    comment: Mapped[str]
    created_at: Mapped[datetime]


class IdempotencyRow(Table):
    """The reply to a write that carried an Idempotency-Key, kept so that a repeat gets the same one."""

    __tablename__ = "idempotency"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TokenUseRow(Table):
    """Tokens that a user's questions cost on one day (`YYYY-MM-DD`, UTC), what is under way included."""

    __tablename__ = "token_use"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255), primary_key=True)
    tokens: Mapped[int] = mapped_column(BigInteger)

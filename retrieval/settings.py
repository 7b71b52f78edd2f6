"""Every setting of the desk: its name, default and meaning. docs/settings.md lists them; a test compares.

Values come from the environment (`REFDESK_<NAME>`; secrets: also the file named by `REFDESK_<NAME>_FILE`), from
files `refdesk_<name>` in the folder of `REFDESK_SECRETS`, or from the TOML file of `REFDESK_CONFIG`; the
earlier one wins. Only composition roots call `load_settings`; everything else is handed values.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from retrieval.errors import RefdeskError


class InvalidSettingsError(RefdeskError):
    """A setting has a value that the desk cannot run with."""

    code = "invalid_settings"
    hint = "Correct the named setting; docs/settings.md lists them all."


WITH_PASSWORDS = ("catalogue_url", "broker_url")
"""Settings that are no secrets themselves, but addresses with a password in them."""


class _NamedFiles(PydanticBaseSettingsSource):
    """Secrets from the files that `REFDESK_<NAME>_FILE` names, as container platforms hand them over."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The content of the file for a setting, None without one."""
        variable = f"REFDESK_{field_name.upper()}"
        file = os.environ.get(f"{variable}_FILE")
        if file is None or not holds_secret(field_name, field):
            return None, field_name, False
        if variable in os.environ:
            raise ValueError(f"{field_name}: set {variable} or {variable}_FILE, not both")
        try:
            return Path(file).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{field_name}: the file in {variable}_FILE cannot be read") from error

    def __call__(self) -> dict[str, Any]:
        """The settings that are in files."""
        fields = self.settings_cls.model_fields.items()
        found = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: value for name, value in found.items() if value is not None}


def holds_secret(name: str, field: FieldInfo) -> bool:
    """Whether a setting must not be shown, and can be read from a file."""
    return field.annotation is SecretStr or name in WITH_PASSWORDS


class Settings(BaseSettings):
    """Settings of one desk."""

    model_config = SettingsConfigDict(env_prefix="REFDESK_", frozen=True, extra="forbid")

    data: Path = Field(Path(".refdesk"), description="State folder: catalogue, index, blobs, caches.")
    docs: Path | None = Field(None, description="Folder to index as the source `docs` when the desk starts.")
    directory: Path | None = Field(None, description="TOML file of users and groups, read at start.")
    host: str = Field("127.0.0.1", description="Address to listen on; `local` mode takes loopback only.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    identity: Literal["local", "keys", "oidc", "proxy"] = Field(
        "local",
        description="Who comes in. `local`: one owner without login, on loopback only. `keys`: API keys. "
        "`oidc`: API keys, tokens and sign-in of an OpenID provider. `proxy`: API keys, and whom a proxy names.",
    )
    owner: str = Field("local", min_length=1, description="User id of the owner in `local` mode.")
    public_url: str = Field(
        "", description="Address of the desk in browsers, without a path: `https://desk.example.org`."
    )
    user_scopes: str = Field(
        "search,answers,documents:read,documents:write,access:explain",
        description="Scopes of people who come in by `oidc` or `proxy`, separated by commas.",
    )
    admin_groups: str = Field(
        "",
        description="Groups whose members get every scope but `act-as` and `audit:read`, separated by commas: "
        "`group:it`.",
    )
    audit_groups: str = Field(
        "", description="Groups whose members may read the audit trail, separated by commas: `group:audit`."
    )
    preview_groups: str = Field(
        "",
        description="Groups whose members, where they are administrators too, may preview everything that a user "
        "would find, separated by commas.",
    )
    audit_days: int = Field(
        365,
        ge=183,
        description="Days of the audit trail that `refdesk audit prune` leaves; six months are the least.",
    )
    audit_questions: Literal["hash", "text"] = Field(
        "hash",
        description="What the audit trail keeps of a question: `hash`, or `text` for its words too.",
    )
    oidc_issuer: str = Field("", description="Issuer of the OpenID provider, exactly as its tokens name it.")
    oidc_name: str = Field(
        "oidc",
        pattern=r"^[a-z][a-z0-9-]{0,31}$",
        description="Short name of the provider: users are `<name>:<sub>`, groups `group:<name>/<group>`. Keep it.",
    )
    oidc_client_id: str = Field("", description="The desk's client id at the provider; empty: no sign-in.")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="The client's secret; empty for a public client."
    )
    oidc_scopes: str = Field("openid profile", description="Scopes that sign-in asks the provider for.")
    oidc_audience: str = Field(
        "", description="Audience of access tokens that the API takes; empty: it takes none."
    )
    oidc_clients: str = Field(
        "", description="Clients whose access tokens the API takes, separated by commas; empty: any client's."
    )
    oidc_algorithms: str = Field(
        "RS256,PS256,ES256",
        description="Signatures that are taken, separated by commas; asymmetric ones only.",
    )
    oidc_token_types: str = Field(
        "at+jwt", description="Types (`typ`) of access tokens that are taken, separated by commas."
    )
    oidc_groups_claim: str = Field(
        "", description="Claim that lists a user's groups; empty: the directory's groups are the only ones."
    )
    scim_name: str = Field(
        "scim",
        pattern=r"^[A-Za-z0-9._-]{1,50}$",
        description="Name that stands for the provisioning system in ids of its groups: `group:scim/Sales`.",
    )
    scim_subject: Literal["", "externalId", "userName"] = Field(
        "", description="SCIM attribute that is the provider's subject of the same user; empty: none is."
    )
    scim_mails: bool = Field(
        False, description="Whether SCIM's addresses stand for their users in access lists of sources."
    )
    oidc_ca_file: Path | None = Field(
        None, description="PEM file of the authority behind the provider's certificate; empty: the system's."
    )
    oidc_keys_max_age_s: float = Field(
        14_400.0, ge=600, description="How long the provider's keys count while it does not answer, seconds."
    )
    session_idle_s: int = Field(
        3600, ge=300, description="A sign-in ends after this long without a request, seconds."
    )
    session_max_s: int = Field(43_200, ge=300, description="A sign-in ends after this long, seconds.")
    proxy_addresses: str = Field(
        "", description="Addresses or networks of the proxy that names users, separated by commas."
    )
    proxy_user_header: str = Field(
        "X-Forwarded-User", description="Header in which the proxy names the user."
    )
    proxy_groups_header: str = Field(
        "", description="Header in which the proxy lists the user's groups, separated by commas; empty: none."
    )
    proxy_secret: SecretStr = Field(
        SecretStr(""),
        description="What the proxy sends in `X-Refdesk-Proxy-Secret`; empty: nothing is asked.",
    )
    catalogue_url: str = Field(
        "", repr=False, description="SQLAlchemy URL; empty means SQLite in the state folder."
    )
    broker_url: str = Field(
        "memory://", repr=False, description="Celery broker; `memory://` runs workers in the desk."
    )
    index_url: str = Field(
        "", description="Base URL of a Qdrant server; empty: Qdrant Edge in the state folder."
    )
    index_api_key: SecretStr = Field(SecretStr(""), description="API key for the Qdrant server.")
    index_grpc_port: int = Field(
        6334,
        ge=0,
        le=65535,
        description="gRPC port of the Qdrant server; 0 uses REST only, as no answer does.",
    )
    index_shards: int = Field(1, ge=1, description="Shards of a new index on the Qdrant server.")
    index_replicas: int = Field(1, ge=1, description="Copies of each shard of a new index.")
    index_write_consistency: int = Field(1, ge=1, description="Copies that have to confirm a write.")
    index_quantization: Literal["none", "int8", "binary"] = Field(
        "none",
        description="How an index compresses vectors, a new one on a server and an optimised one in the state "
        "folder: `none`, `int8`, `binary`.",
    )
    index_optimise_above: int = Field(
        20_000,
        ge=0,
        description="Chunks outside optimised segments above which the desk optimises the index in the state "
        "folder, in the background; 0: never.",
    )
    workers: int = Field(2, ge=1, le=64, description="Documents that are indexed at a time.")
    secrets: Path | None = Field(
        None, description="Folder of secrets: `refdesk_<setting>` files, and those that sources name."
    )
    model: str = Field(
        "all-MiniLM-L6-v2-int8", description="Folder below REFDESK_MODELS of the embedding model in use."
    )
    queues: str = Field(
        "urgent,index,sync,maintenance",
        description="Queues that a worker process of a split desk takes tasks from.",
    )
    heartbeat_file: Path | None = Field(
        None, description="File that a worker process touches while catalogue and broker answer it."
    )
    min_free_mb: int = Field(
        256, ge=0, description="Indexing waits while the state folder's disk has less room than this, MiB."
    )
    models: Path = Field(
        Path(sys.prefix) / "share" / "refdesk" / "models",
        description="Folder of the exported embedding models, made by `make setup`.",
    )
    embedding_cache: Path | None = Field(
        None, description="File that remembers embeddings; empty means `embeddings.db` in the state folder."
    )
    embedder_folder: Path | None = Field(
        None,
        description="Folder of a sentence-transformers model that embeds instead of REFDESK_MODEL; "
        "a relative one lies below REFDESK_MODELS.",
    )
    embedder_url: str = Field(
        "",
        description="Base URL of an embedding server, ending in /v1, that embeds instead of REFDESK_MODEL.",
    )
    embedder_model: str = Field("", description="Model name that the embedding server serves.")
    embedder_api_key: SecretStr = Field(SecretStr(""), description="Bearer key for the embedding server.")
    embedder_query_prefix: str = Field(
        "", description="Put before each question, by the two above; empty: the model's own prompt, if any."
    )
    embedder_document_prefix: str = Field("", description="The same for passages.")
    embedder_time_s: float = Field(
        20.0, gt=0, description="Longest time for one request to the embedding server, seconds."
    )
    reranker_folder: Path | None = Field(
        None,
        description="Folder of a sentence-transformers cross-encoder that re-orders the best hits; "
        "a relative one lies below REFDESK_MODELS.",
    )
    reranker_url: str = Field(
        "", description="Base URL of a reranking server, the part before /rerank, that re-orders them."
    )
    reranker_protocol: Literal["cohere", "tei"] = Field(
        "cohere", description="What the reranking server speaks: `cohere` as vLLM does, or `tei`."
    )
    reranker_model: str = Field("", description="Model name that the reranking server serves.")
    reranker_api_key: SecretStr = Field(SecretStr(""), description="Bearer key for the reranking server.")
    reranker_time_s: float = Field(
        5.0,
        gt=0,
        description="Longest time for reranking one search, seconds; over it, the first order holds.",
    )
    rerank_depth: int = Field(50, ge=2, le=400, description="Hits that are reranked.")
    max_file_mb: int = Field(100, ge=1, description="Largest file that is parsed, MiB.")
    parser_time_s: float = Field(90.0, gt=0, description="Longest time one file may take to parse, seconds.")
    parser_memory_mb: int = Field(1024, ge=256, description="Most memory one file's parser may take, MiB.")
    vllm_url: str = Field("", description="Base URL of a vLLM server, ending in /v1; empty: extracts only.")
    vllm_model: str = Field("gpt-oss-20b", description="Model name that the vLLM server serves.")
    vllm_api_key: SecretStr = Field(SecretStr(""), description="Bearer key for the vLLM server.")
    answer_time_s: float = Field(60.0, gt=0, description="Longest time for one generated answer, seconds.")
    context_tokens: int = Field(3000, ge=200, description="Most tokens of passages in a prompt.")
    retention: str = Field(
        "",
        description="Classes of retention and their periods in days: `minutes=90d,contracts=3650d`.",
    )
    no_ai_search: Literal["shown", "hidden"] = Field(
        "shown", description="Whether search finds documents with the label `no-ai`, which enter no prompt."
    )
    tokens_per_day: int | None = Field(
        None,
        ge=1,
        description="Tokens that one user's questions may cost the model in a day (UTC), read and written; "
        "over it, extracts answer. Empty: any number.",
    )
    tokens_per_day_total: int | None = Field(
        None, ge=1, description="The same for all users together. Empty: any number."
    )
    max_body_mb: int = Field(110, ge=1, description="Largest request body, MiB.")
    limit_user_per_s: float = Field(
        100.0, ge=0, description="Requests per second of one user; 0: any number."
    )
    limit_key_per_s: float = Field(
        200.0, ge=0, description="Requests per second with one API key, whoever it acts for; 0: any number."
    )
    limit_address_per_s: float = Field(
        400.0,
        ge=0,
        description="Requests per second from one address (IPv6: from one /64), never counted for this "
        "machine and the proxies; 0: any number.",
    )
    limit_burst_s: float = Field(
        6.0, gt=0, description="Requests that may come at once after a pause, as seconds of the three above."
    )
    limit_failures_per_min: float = Field(
        30.0,
        ge=0,
        description="Credentials that are not valid, per minute from one address; over it, no credential "
        "from there counts. 0: any number.",
    )
    limit_exempt_addresses: str = Field(
        "",
        description="Addresses or networks of proxies that carry the requests of many, separated by commas: "
        "not counted by address. `REFDESK_PROXY_ADDRESSES` are among them.",
    )
    limit_answers_per_user: int = Field(
        4, ge=0, description="Answers that one user may have under way; 0: any number."
    )
    limit_answers_total: int = Field(
        32,
        ge=0,
        description="Answers under way in all, no more than the model server works on at a time; 0: any number.",
    )
    limit_request_s: float = Field(
        120.0, ge=1, description="Longest time until a reply begins, the body's arrival included, seconds."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe log line."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, the environment, the files it names, the folder of secrets, the TOML file."""
        folder, file = os.environ.get("REFDESK_SECRETS"), os.environ.get("REFDESK_CONFIG")
        secrets = (SecretsSettingsSource(settings_cls, secrets_dir=folder),) if folder else ()
        toml = (TomlConfigSettingsSource(settings_cls, Path(file)),) if file else ()
        return (init_settings, env_settings, _NamedFiles(settings_cls), *secrets, *toml)

    @property
    def embedding_cache_file(self) -> Path:
        """Where embeddings are remembered."""
        return self.embedding_cache or self.data / "embeddings.db"

    @property
    def database_url(self) -> str:
        """The catalogue's SQLAlchemy URL."""
        return self.catalogue_url or f"sqlite:///{(self.data / 'catalogue.db').absolute()}"


def load_settings(**overrides: object) -> Settings:
    """Settings from arguments, environment and file.

    Raises:
        InvalidSettingsError: A value is missing or out of range; the message names the setting.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]  # validated by pydantic
    except (ValidationError, OSError, ValueError) as error:
        raise InvalidSettingsError(_first_line(error)) from error


def read_secret(settings: Settings, name: str) -> str:
    """The secret that a source names: the environment's `REFDESK_SECRET_<NAME>`, else a file of that name.

    Only composition roots call this, for connectors that they make. The desk's own secrets (`refdesk_…`) are
    not to be had: whoever adds a source could send them to a server of theirs.

    Raises:
        InvalidSettingsError: There is none, the name is one of the desk's own, or it is not made of letters,
            digits and underscores.
    """
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", name) is None:
        raise InvalidSettingsError("a secret's name is made of letters, digits and underscores")
    if name.lower().startswith("refdesk_"):
        raise InvalidSettingsError(f"{name} is a secret of the desk itself; a source cannot have it")
    value = os.environ.get(f"REFDESK_SECRET_{name.upper()}")
    if value is not None:
        return value
    try:
        if settings.secrets is not None:
            return (settings.secrets / name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise InvalidSettingsError(f"the secret {name} cannot be read") from error
    raise InvalidSettingsError(f"there is no secret {name}: set REFDESK_SECRET_{name.upper()}")


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        name = ".".join(str(part) for part in problem["loc"])
        return f"{name}: {problem['msg']}"
    return str(error)

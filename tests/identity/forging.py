"""Tokens and keys that must not let anybody in, each as the headers, cookies and query that carry it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from retrieval.access import UserId
from serving.desk import Desk
from tests.services.openid_provider import AUDIENCE, CLIENT_ID, CLIENT_SECRET, OpenIdProvider

ACCESS = "at+jwt"


@dataclass(frozen=True)
class Shown:
    """What a request shows."""

    headers: list[tuple[str, bytes]] = field(default_factory=list)
    query: str = ""

    @classmethod
    def bearer(cls, credential: str) -> Shown:
        """A credential where it belongs."""
        return cls([("Authorization", b"Bearer " + credential.encode())])


def part(content: Any) -> str:
    """A part of a token: JSON or bytes in base64url."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed_with(key: Any, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token signed by joserfc, with any algorithm that it knows."""
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, registry=registry)


def signed_by_hand(key: RSAKey, header: Any, claims: Any) -> str:
    """A token with any header and payload at all, and a correct RS256 signature."""
    content = f"{part(header)}.{part(claims)}"
    assert key.private_key is not None
    signature = key.private_key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{content}.{part(signature)}"


def keyed_hash(secret: bytes, algorithm: str, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token whose signature is a keyed hash; any bytes make the key."""
    content = f"{part({**header, 'alg': algorithm})}.{part(claims)}"
    digest = hmac.new(secret, content.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
    return f"{content}.{part(digest)}"


class UnfitKeys:
    """Keys that a provider publishes and that are nevertheless no good for signatures of tokens."""

    def __init__(self) -> None:
        self.curve = ECKey.generate_key("P-256", {"kid": "curve", "use": "sig"})
        self.encrypting = RSAKey.generate_key(2048, {"kid": "encrypting", "use": "enc"})
        self.wrapping = RSAKey.generate_key(2048, {"kid": "wrapping"})
        self.other_algorithm = RSAKey.generate_key(2048, {"kid": "other-algorithm", "alg": "RS512"})
        self.twins = [RSAKey.generate_key(2048, {"kid": "twin"}) for _ in range(2)]
        self.shared_secret = OctKey.import_key(
            b"a secret that a provider should not publish", {"kid": "shared"}
        )
        weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
        self.weak = RSAKey(weak, weak, {"kid": "weak"})

    def published(self) -> list[dict[str, Any]]:
        """As they stand in the provider's key set."""
        wrapping = {**self.wrapping.as_dict(private=False), "key_ops": ["wrapKey"]}
        public: list[RSAKey | ECKey] = [
            self.curve,
            self.encrypting,
            self.other_algorithm,
            *self.twins,
            self.weak,
        ]
        strange = [
            {"kty": "PQC", "kid": "strange"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            "text",
        ]
        listed: list[Any] = [key.as_dict(private=False) for key in public]
        return [*listed, wrapping, self.shared_secret.as_dict(private=True), *strange]


Forgery = Callable[[OpenIdProvider, UnfitKeys], Shown]

TOKENS: dict[str, Forgery] = {}


def _claims(name: str, **changes: Any) -> None:
    """A token with these claims, correctly signed by the provider."""
    TOKENS[name] = lambda provider, _: Shown.bearer(provider.access_token(**changes))


def _header(name: str, **changes: Any) -> None:
    """A token with these header fields, correctly signed by the provider."""
    TOKENS[name] = lambda provider, _: Shown.bearer(
        signed_by_hand(
            provider.key,
            {k: v for k, v in {**_usual(provider), **changes}.items() if v is not _ABSENT},
            provider.claims(),
        )
    )


_ABSENT = object()


def _usual(provider: OpenIdProvider) -> dict[str, Any]:
    return {"alg": "RS256", "typ": ACCESS, "kid": provider.key.kid}


def _make(name: str) -> Callable[[Callable[[OpenIdProvider, UnfitKeys], str]], None]:
    """Register a token that takes more than a line to make."""

    def register(make: Callable[[OpenIdProvider, UnfitKeys], str]) -> None:
        TOKENS[name] = lambda provider, unfit: Shown.bearer(make(provider, unfit))

    return register


# --- algorithms


def _unsigned(algorithm: str) -> None:
    """A token without a signature that names this algorithm."""
    TOKENS[f"algorithm {algorithm!r}, no signature"] = lambda provider, _: Shown.bearer(
        f"{part({**_usual(provider), 'alg': algorithm})}.{part(provider.claims())}."
    )


for _name in ("none", "None", "NONE", "nOnE", ""):
    _unsigned(_name)
for _value in (["RS256"], 256, None, {"RS256": 1}, "RS257", "HS256", "RS256 ", "rs256", _ABSENT):
    _header(
        f"algorithm {'absent' if _value is _ABSENT else _value!r} in the header of an RS256 signature",
        alg=_value,
    )


@_make("algorithm none, with a signature of something else")
def _none_with_signature(provider: OpenIdProvider, _: UnfitKeys) -> str:
    signature = provider.access_token().rpartition(".")[2]
    return f"{part({**_usual(provider), 'alg': 'none'})}.{part(provider.claims())}.{signature}"


def _keyed_with_pem(algorithm: str) -> None:
    """A token whose keyed hash has the public key as its secret."""
    TOKENS[f"{algorithm} with the public key in PEM as secret"] = lambda provider, _: Shown.bearer(
        keyed_hash(provider.key.as_pem(private=False), algorithm, _usual(provider), provider.claims())
    )


for _algorithm in ("HS256", "HS384", "HS512"):
    _keyed_with_pem(_algorithm)


@_make("HS256 with the public key in DER as secret")
def _hs_der(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return keyed_hash(provider.key.as_der(private=False), "HS256", _usual(provider), provider.claims())


@_make("HS256 with the public key in JSON as secret")
def _hs_json(provider: OpenIdProvider, _: UnfitKeys) -> str:
    secret = json.dumps(provider.key.as_dict(private=False)).encode()
    return keyed_hash(secret, "HS256", _usual(provider), provider.claims())


@_make("HS256 with the client's secret")
def _hs_client_secret(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return keyed_hash(CLIENT_SECRET.encode(), "HS256", _usual(provider), provider.claims())


@_make("HS256 with an empty secret")
def _hs_empty(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return keyed_hash(b"", "HS256", _usual(provider), provider.claims())


@_make("HS256 with a secret that the provider published")
def _hs_published(provider: OpenIdProvider, unfit: UnfitKeys) -> str:
    header = {"typ": ACCESS, "kid": "shared"}
    return keyed_hash(unfit.shared_secret.raw_value, "HS256", header, provider.claims())


def _not_configured(algorithm: str) -> None:
    """A token signed by the right key with an algorithm that is not allowed."""

    @_make(f"{algorithm}, which is not among the settings, by the right key")
    def make(provider: OpenIdProvider, _: UnfitKeys) -> str:
        return signed_with(provider.key, {**_usual(provider), "alg": algorithm}, provider.claims())


for _algorithm in ("RS384", "RS512", "PS384", "PS512"):
    _not_configured(_algorithm)


@_make("RS256 in the header, PS256 in the signature")
def _mixed_up(provider: OpenIdProvider, _: UnfitKeys) -> str:
    other = signed_with(provider.key, {**_usual(provider), "alg": "PS256"}, provider.claims())
    return f"{part(_usual(provider))}.{part(provider.claims())}.{other.rpartition('.')[2]}"


@_make("ES256 with a signature of zeroes")
def _psychic(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return (
        f"{part({'alg': 'ES256', 'typ': ACCESS, 'kid': 'curve'})}.{part(provider.claims())}.{part(bytes(64))}"
    )


@_make("ES256 with the provider's RSA key id")
def _curve_on_rsa(provider: OpenIdProvider, unfit: UnfitKeys) -> str:
    return signed_with(unfit.curve, {**_usual(provider), "alg": "ES256"}, provider.claims())


@_make("Ed25519 by a key of one's own")
def _edwards(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return signed_with(
        OKPKey.generate_key("Ed25519"), {**_usual(provider), "alg": "Ed25519"}, provider.claims()
    )


# --- keys


def _published_as(name: str) -> None:
    """A token signed with one of the unfit keys."""

    @_make(f"signed with a published key that is {name.replace('_', ' ')}")
    def make(provider: OpenIdProvider, unfit: UnfitKeys) -> str:
        key = getattr(unfit, name)
        return signed_by_hand(key, {"alg": "RS256", "typ": ACCESS, "kid": key.kid}, provider.claims())


for _attribute in ("encrypting", "wrapping", "other_algorithm", "weak"):
    _published_as(_attribute)


def _twin(number: int) -> None:
    """A token signed with one of two keys that share an id."""

    @_make(f"signed with key {number} of two published ones of the same id")
    def make(provider: OpenIdProvider, unfit: UnfitKeys) -> str:
        header = {"alg": "RS256", "typ": ACCESS, "kid": "twin"}
        return signed_by_hand(unfit.twins[number], header, provider.claims())


for _number in (0, 1):
    _twin(_number)


@_make("another one's key under the provider's key id")
def _stranger(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return signed_by_hand(RSAKey.generate_key(2048), _usual(provider), provider.claims())


for _value in (
    "unknown",
    "",
    "../../../../dev/null",
    "x' UNION SELECT 'secret' --",
    "https://attacker.example/key.json",
    "/etc/passwd\0",
    "k" * 900,
    "k" * 5000,
    "curve",
    7,
    ["a"],
    None,
    {"kid": 1},
    _ABSENT,
):
    _shown = "absent" if _value is _ABSENT else repr(_value)[:40] + str(len(repr(_value)))
    _header(f"key id {_shown}", kid=_value)

_own = RSAKey.generate_key(2048, auto_kid=True)


@_make("the key in the header (jwk)")
def _embedded(provider: OpenIdProvider, _: UnfitKeys) -> str:
    header = {"alg": "RS256", "typ": ACCESS, "kid": _own.kid, "jwk": _own.as_dict(private=False)}
    return signed_by_hand(_own, header, provider.claims())


@_make("the key in the header (jwk), under the provider's key id")
def _embedded_same(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return signed_by_hand(_own, {**_usual(provider), "jwk": _own.as_dict(private=False)}, provider.claims())


_header("address of a key set (jku), the provider's own", jku="http://127.0.0.1/jwks")
_header("address of a key set (jku), a stranger's", jku="https://attacker.example/jwks")
_header("address of a certificate (x5u)", x5u="https://attacker.example/cert")
_header("a chain of certificates (x5c)", x5c=["MIIB"])
_header("a critical extension", crit=["exp"], exp=1)
_header("a critical extension that is known, payload not encoded", crit=["b64"], b64=False)
_header("a token in the token (cty)", cty="JWT")
_header("compressed (zip)", zip="DEF")
_header("an unknown header field", trust="me")

# --- types

for _value in ("JWT", "logout+jwt", "secevent+jwt", "at+jwt2", "", 1, ["at+jwt"], _ABSENT):
    _header(f"type {'absent' if _value is _ABSENT else _value!r}", typ=_value)

# --- claims

_claims("another issuer", iss="https://attacker.example")
TOKENS["the issuer with a slash"] = lambda p, _: Shown.bearer(p.access_token(iss=p.issuer + "/"))
TOKENS["the issuer in capitals"] = lambda p, _: Shown.bearer(p.access_token(iss=p.issuer.upper()))
TOKENS["the issuer among others"] = lambda p, _: Shown.bearer(p.access_token(iss=[p.issuer, "x"]))
_claims("no issuer", iss=None)
_claims("an empty issuer", iss="")
_claims("another audience", aud="https://other.example/api")
_claims("other audiences", aud=["https://other.example/api", "x"])
_claims("an audience that begins alike", aud=AUDIENCE + "/x")
_claims("no audience", aud=None)
_claims("an empty list of audiences", aud=[])
_claims("an audience that is a number", aud=1)
_claims("an audience beside a number", aud=[AUDIENCE, 1])
_claims("an ID token's audience", aud=CLIENT_ID)
_claims("an ID token's audience as well", aud=[AUDIENCE, CLIENT_ID])
_claims("expired an hour ago", exp=int(time.time()) - 3600)
_claims("expired in 1970", exp=0)
_claims("expired before 1970", exp=-1)
_claims("no expiry", exp=None)
_claims("an expiry in words", exp="2100-01-01")
_claims("an expiry as text", exp=str(int(time.time()) + 600))
_claims("an expiry that is true", exp=True)
_claims("an expiry that is no number", exp=float("nan"))
_claims("an expiry without end", exp=float("inf"))
_claims("an expiry in a list", exp=[int(time.time()) + 600])
_claims("not valid before tomorrow", nbf=int(time.time()) + 86400)
_claims("not valid before some text", nbf="now")
_claims("issued tomorrow", iat=int(time.time()) + 86400)
_claims("no time of issue", iat=None)
_claims("a time of issue as text", iat="1")
_claims("no subject", sub=None)
for _value in ("", " ", "a\nb", "a\x00b", "a\u202eb", "x" * 300, 7, ["a"], {"a": 1}, True):
    _claims(f"subject {str(_value)[:8]!r} of {type(_value).__name__}", sub=_value)
_claims("the client itself as subject", sub=CLIENT_ID)
_claims("two clients", azp="another")
_claims("a client that is a list", client_id=[CLIENT_ID])
_claims("no groups", groups=None)
_claims("groups as text", groups="hr")
_claims("a group that is a number", groups=["hr", 1])
_claims("a group with a line end", groups=["hr\n"])
_claims("an empty group", groups=[""])
_claims("groups as names and values", groups={"hr": True})
_claims("too many groups to name", _claim_names={"groups": "src1"}, groups=None)
_claims("too many groups to name, said otherwise", hasgroups=True)
_claims("bound to a client's key (DPoP)", cnf={"jkt": "x"})
for _name in ("nonce", "at_hash", "c_hash", "s_hash"):
    _claims(f"an ID token's claim {_name}", **{_name: "x"})

# --- form and signature


def _altered(name: str, alter: Callable[[str], str]) -> None:
    TOKENS[name] = lambda provider, _: Shown.bearer(alter(provider.access_token()))


_altered("no signature", lambda token: token.rpartition(".")[0] + ".")
_altered("two parts", lambda token: token.rpartition(".")[0])
_altered("four parts", lambda token: token + ".x")
_altered("five parts", lambda token: token + ".x.x")
_altered("half a signature", lambda token: token[:-100])
_altered("a signature with another first byte", lambda token: _swapped(token, token.rindex(".") + 1))
_altered("a payload with another byte", lambda token: _swapped(token, token.index(".") + 20))
_altered("padded", lambda token: token + "==")
_altered("in plain base64", lambda token: token.replace("-", "+").replace("_", "/") + "+/")
_altered("with a blank inside", lambda token: token.replace(".", ". ", 1))
_altered("twice", lambda token: f"{token} {token}")
_altered("as a list", lambda token: f"[{token}]")
_altered("as JSON", lambda token: json.dumps({"payload": token.split(".")[1], "signatures": []}))


def _swapped(token: str, at: int) -> str:
    return token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]


@_make("other claims under a signature that was seen before")
def _replayed_signature(provider: OpenIdProvider, _: UnfitKeys) -> str:
    header, _claims_part, signature = provider.access_token().split(".")
    return f"{header}.{part(provider.claims(sub='somebody else'))}.{signature}"


@_make("over the size that is read")
def _oversized(provider: OpenIdProvider, _: UnfitKeys) -> str:
    return provider.access_token(filling="x" * 20_000)


def _malformed(content: Any) -> None:
    """A token whose header is this, and one whose claims are."""
    shown = f"{content!r:.9} of {len(repr(content))}"
    TOKENS[f"a header that is {shown}"] = lambda provider, _: Shown.bearer(
        signed_by_hand(provider.key, content, provider.claims())
    )
    TOKENS[f"claims that are {shown}"] = lambda provider, _: Shown.bearer(
        signed_by_hand(provider.key, _usual(provider), content)
    )


for _content in ([], ["alg"], "text", "alg", 1, None, b"{", b"\xff\xfe", b"[" * 900, b"[" * 5000):
    _malformed(_content)

TOKENS["nonsense"] = lambda provider, _: Shown.bearer("nonsense")
TOKENS["nothing after Bearer"] = lambda provider, _: Shown.bearer("")
TOKENS["letters that are not ASCII"] = lambda provider, _: Shown.bearer("ä.ö.ü")
TOKENS["in the wrong scheme"] = lambda provider, _: Shown(
    [("Authorization", b"Basic " + provider.access_token().encode())]
)
TOKENS["without a scheme"] = lambda provider, _: Shown([("Authorization", provider.access_token().encode())])
TOKENS["two of them"] = lambda provider, _: Shown(
    [("Authorization", b"Bearer " + provider.access_token().encode())] * 2
)
TOKENS["in the address"] = lambda provider, _: Shown(query=f"access_token={provider.access_token()}")
TOKENS["in a cookie"] = lambda provider, _: Shown(
    [("Cookie", b"refdesk-session=" + provider.access_token().encode())]
)
TOKENS["in a header of a proxy"] = lambda provider, _: Shown(
    [("X-Forwarded-Access-Token", provider.access_token().encode()), ("X-Forwarded-User", b"mara")]
)

# --- API keys and sessions

KEYS: dict[str, Callable[[Desk], Shown]] = {}


def _key(name: str) -> Callable[[Callable[[Desk], str]], None]:
    def register(make: Callable[[Desk], str]) -> None:
        KEYS[name] = lambda desk: Shown.bearer(make(desk))

    return register


def new_key(desk: Desk, **given: Any) -> tuple[str, str]:
    """Id and secret of a new key."""
    key, secret = desk.directory.create_key(
        given.get("user", UserId("somebody")),
        name="test",
        scopes=["search"],
        expires_at=given.get("expires_at"),
    )
    return key.id, secret


@_key("a revoked key")
def _revoked(desk: Desk) -> str:
    id_, secret = new_key(desk)
    desk.directory.revoke_key(id_)
    return secret


@_key("an expired key")
def _expired(desk: Desk) -> str:
    return new_key(desk, expires_at=datetime.now(UTC) - timedelta(seconds=1))[1]


@_key("a rotated key")
def _rotated(desk: Desk) -> str:
    id_, secret = new_key(desk)
    desk.directory.rotate_key(id_, grace=timedelta())
    return secret


@_key("a key with another key's secret")
def _crossed(desk: Desk) -> str:
    return new_key(desk)[1].partition(".")[0] + "." + new_key(desk)[1].partition(".")[2]


@_key("the hash of a key as its secret")
def _hash_as_key(desk: Desk) -> str:
    prefix, _, secret = new_key(desk)[1].partition(".")
    return f"{prefix}.{hashlib.sha256(secret.encode()).hexdigest()}"


def _changed(name: str, change: Callable[[str], str]) -> None:
    KEYS[name] = lambda desk: Shown.bearer(change(new_key(desk)[1]))


_changed("a key's prefix alone", lambda key: key.partition(".")[0])
_changed("a key without its last letter", lambda key: key[:-1])
_changed("a key with a letter more", lambda key: key + "A")
_changed("a key in capitals", str.upper)
_changed("a key with a capital prefix", lambda key: "RD" + key[2:])
_changed("a key and a blank inside", lambda key: key.replace(".", ". "))
_changed("a key without its dot", lambda key: key.replace(".", ""))
_changed("a key with a wildcard for a prefix", lambda key: "rd_%." + key.partition(".")[2])
_changed("a key that never was", lambda key: "rd_00000000." + "A" * 43)
_changed("a key and a quote", lambda key: key + "' OR '1'='1")
KEYS["a key in the address"] = lambda desk: Shown(query=f"api_key={new_key(desk)[1]}")
KEYS["a key in a cookie"] = lambda desk: Shown([("Cookie", b"refdesk-session=" + new_key(desk)[1].encode())])
KEYS["a key as a password"] = lambda desk: Shown(
    [("Authorization", b"Basic " + base64.b64encode(b"key:" + new_key(desk)[1].encode()))]
)
KEYS["a key beside another one"] = lambda desk: Shown(
    [("Authorization", b"Bearer " + new_key(desk)[1].encode()) for _ in range(2)]
)
KEYS["a key in a header of its own"] = lambda desk: Shown([("X-API-Key", new_key(desk)[1].encode())])


def _session(name: str, make: Callable[[Desk], str]) -> None:
    KEYS[name] = lambda desk: Shown([("Cookie", b"refdesk-session=" + make(desk).encode())])


def _begun(desk: Desk) -> str:
    return desk.sessions.begin(UserId("oidc:1"), name="", groups=[])


def _ended(desk: Desk) -> str:
    secret = _begun(desk)
    desk.sessions.end(secret)
    return secret


def _replaced(desk: Desk) -> str:
    secret = _begun(desk)
    desk.sessions.begin(UserId("oidc:1"), name="", groups=[], replaces=secret)
    return secret


_session("a session that was ended", _ended)
_session("a session that a new sign-in replaced", _replaced)
_session("a session's hash", lambda desk: hashlib.sha256(_begun(desk).encode()).hexdigest())
_session("a session that never was", lambda _: "A" * 43)
_session("a session of nonsense", lambda _: "' OR 1=1 --")
_session(
    "a session whose groups nobody knows", lambda desk: desk.sessions.begin(UserId("x"), name="", groups=None)
)

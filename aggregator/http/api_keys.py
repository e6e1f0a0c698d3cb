"""Who sends: API keys, their signing secrets, and the signature of a request.

Nothing here stores a key's value. A key is known by `digest`, the HMAC-SHA256 of its value under
CORE_AUTH_SECRET; its signing secret is derived from that digest and so changes with every rotation.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from aggregator.ledger.errors import classified
from aggregator.models import ApiKey
from ecosystems import signing
from ecosystems.env import Environment

PUBLISH = "publish"
READ = "read"
ROTATION_OVERLAP = timedelta(hours=24)
"""How long the value before a rotation still passes, unless told otherwise."""
LAST_USED_INTERVAL = timedelta(minutes=1)
"""How precisely the last use of a key is kept: one write a minute, not one a request."""


class Unauthenticated(Exception):
    """No valid signature or key. Why is nobody's business outside."""


@dataclass(frozen=True)
class Principal:
    """Who made a request, as far as it proved it."""

    name: str
    """`key:<id>`, else the address the request came from."""
    scopes: frozenset[str] = frozenset({PUBLISH})
    ecosystems: frozenset[str] | None = None
    """None means all."""


@dataclass(frozen=True)
class IssuedKey:
    """A key's value as it was just made: shown once, never stored."""

    key: ApiKey
    value: str
    signing_secret: str


@dataclass(frozen=True)
class _ValidKey:
    """A key that is valid now, and the digests whose values and signing secrets pass."""

    key_id: str
    digests: tuple[bytes, ...]
    scopes: frozenset[str]
    ecosystems: frozenset[str] | None


class AuthManager:
    """Recognises API keys, of the table `api_keys` and of CORE_API_KEYS, and signatures made with them."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._secret = (environment.auth_secret or "").encode()
        self._shared = [environment.event_webhook_secret] if environment.event_webhook_secret else []
        self._configured = {
            self.digest(value): _ValidKey(key_id, (self.digest(value),), frozenset({PUBLISH}), None)
            for key_id, value in environment.api_keys
        }

    def digest(self, value: str) -> bytes:
        """Return what stands for a key's value: HMAC-SHA256 under CORE_AUTH_SECRET, 32 bytes."""
        return hmac.digest(self._secret, value.encode("latin-1", "replace"), hashlib.sha256)

    def signing_secret(self, key_id: str, digest: bytes) -> str:
        """Return the `whsec_…` secret that belongs to a value of a key. `digest` is that value's."""
        message = b"signing-secret\0" + key_id.encode() + b"\0" + digest
        return "whsec_" + base64.b64encode(hmac.digest(self._secret, message, hashlib.sha256)).decode()

    def issue(self, key: ApiKey) -> IssuedKey:
        """Give `key` its first value and save it."""
        value = new_key_value()
        key.digest = self.digest(value)
        key.created_at = timezone.now()
        key.save()
        return self._grant(key, value)

    def rotate(self, key: ApiKey, overlap: timedelta = ROTATION_OVERLAP) -> IssuedKey:
        """Give `key` a new value; the one before passes for `overlap` more (zero: no longer).

        Two rotations at once do not lose one another: the row is locked.
        """
        value = new_key_value()
        with transaction.atomic():
            row = ApiKey.objects.select_for_update().get(pk=key.pk)
            now = timezone.now()
            row.previous_digest = row.digest if overlap else None
            row.previous_until = now + overlap if overlap else None
            row.digest = self.digest(value)
            row.rotated_at = now
            row.save(update_fields=["previous_digest", "previous_until", "digest", "rotated_at"])
        return self._grant(row, value)

    def revoke(self, key: ApiKey) -> None:
        """Take all its rights from `key`, at once and for good."""
        ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())

    def authenticate(self, headers: Mapping[str, str], body: bytes, address: str) -> Principal:
        """Return who signed `body`, or raise Unauthenticated; raises Outage when keys cannot be looked up.

        `headers` has lower-case names. The signature may be made with the shared secret or with the signing
        secret of the key that the request carries; a key alone proves nothing.
        """
        value = key_in_headers(headers)
        known = self._lookup(value) if value is not None else None
        if value is not None and known is None:
            raise Unauthenticated
        if known is None and self.environment.webhook_require_key:
            raise Unauthenticated
        own = [self.signing_secret(known.key_id, digest) for digest in known.digests] if known else []
        if not self._signed([*self._shared, *own], headers, body):
            raise Unauthenticated
        if known is None:
            return Principal(address)
        return Principal(f"key:{known.key_id}", known.scopes, known.ecosystems)

    def identify(self, value: str) -> Principal | None:
        """Return whose key `value` is, if it is valid now."""
        known = self._lookup(value)
        return Principal(f"key:{known.key_id}", known.scopes, known.ecosystems) if known else None

    def _signed(self, secrets_: list[str], headers: Mapping[str, str], body: bytes) -> bool:
        if any(name.startswith("webhook-") for name in headers):
            return signing.verify(
                secrets_,
                headers.get("webhook-id", ""),
                headers.get("webhook-timestamp", ""),
                headers.get("webhook-signature", ""),
                body,
                time.time(),
            )
        signature = headers.get("x-signature")
        if signature is None or not self.environment.webhook_allow_legacy:
            return False
        return signing.verify_legacy(secrets_, signature, body)

    def _lookup(self, value: str) -> _ValidKey | None:
        digest = self.digest(value)
        if configured := self._configured.get(digest):
            return configured
        with classified():
            return _find_key(digest)

    def _grant(self, key: ApiKey, value: str) -> IssuedKey:
        return IssuedKey(key, value, self.signing_secret(key.key_id, bytes(key.digest)))


def _find_key(digest: bytes) -> _ValidKey | None:
    """Look a value up that is valid now; a look-up by HMAC tells an attacker's clock nothing of the value."""
    now = timezone.now()
    key = valid_keys([digest], now).first()
    if key is None:
        return None
    _record_use(key, now)
    digests = [bytes(key.digest)]
    if key.previous_digest and key.previous_until and key.previous_until > now:
        digests.append(bytes(key.previous_digest))
    return _ValidKey(
        key.key_id,
        tuple(digests),
        frozenset(key.scopes),
        frozenset(key.ecosystems) if key.ecosystems else None,
    )


def valid_keys(digests: Sequence[bytes], now: datetime) -> QuerySet[ApiKey]:
    """Return the keys that are valid at `now` and have one of `digests` as a value that passes."""
    current = Q(digest__in=digests) | Q(previous_digest__in=digests, previous_until__gt=now)
    return ApiKey.objects.filter(current).filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


def _record_use(key: ApiKey, now: datetime) -> None:
    if key.last_used_at is None or now - key.last_used_at > LAST_USED_INTERVAL:
        stale = Q(last_used_at=None) | Q(
            last_used_at=F("last_used_at"), last_used_at__lt=now - LAST_USED_INTERVAL
        )
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def key_in_headers(headers: Mapping[str, str]) -> str | None:
    """Return the API key that a request carries, as `Authorization: Bearer` or `X-API-Key`."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key")


def new_key_value() -> str:
    """Return a new key's value: 256 random bits, with a prefix by which secret scanners can know it."""
    return "shk_" + secrets.token_urlsafe(32)


def new_key_suffix() -> str:
    """Return what tells keys of the same name apart: six hexadecimal digits."""
    return secrets.token_hex(3)


def new_key_id(name: str, tail: str = "") -> str:
    """Return an id for a key, readable in logs: from its name, with `tail` or a random one at the end."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32] or "key"
    return f"{slug}-{tail or new_key_suffix()}"


@lru_cache(maxsize=4)
def auth_manager(environment: Environment) -> AuthManager:
    """Return the AuthManager of an environment, always the same one."""
    return AuthManager(environment)

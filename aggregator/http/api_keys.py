"""Authentication of requests: API keys, their signing secrets, and signatures.

No key's value is stored. A key is found by `digest`, the HMAC-SHA256 of its value under
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
from django.db.models import Q, QuerySet
from django.utils import timezone

from aggregator.ledger.errors import classified
from aggregator.models import ApiKey
from ecosystems import signing
from ecosystems.env import Environment

PUBLISH = "publish"
READ = "read"
METRICS = "metrics"
ROTATION_OVERLAP = timedelta(hours=24)
"""How long the value before a rotation stays valid by default."""
LAST_USED_INTERVAL = timedelta(minutes=1)
"""The precision of a key's last use: one write a minute, not one a request."""

SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class Unauthenticated(Exception):
    """No valid signature or key. The reason is not given to the client."""


@dataclass(frozen=True)
class Principal:
    """The authenticated sender of a request, and its rights."""

    name: str
    """`key:<id>`, else the client's address."""
    scopes: frozenset[str] = frozenset({PUBLISH})
    ecosystems: frozenset[str] | None = None
    """None means all."""
    agents: frozenset[str] | None = None
    """The values of `agent_source` it may publish; None means all."""


@dataclass(frozen=True)
class IssuedKey:
    """A new value of a key: shown once, never stored."""

    key: ApiKey
    value: str
    signing_secret: str


@dataclass(frozen=True)
class _ValidKey:
    """A key that is valid now, and the digests whose values and signing secrets are accepted."""

    key_id: str
    digests: tuple[bytes, ...]
    principal: Principal


class AuthManager:
    """Issues API keys, and authenticates requests by those of `api_keys` and of CORE_API_KEYS."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._secret = (environment.auth_secret or "").encode()
        self._shared = [environment.event_webhook_secret] if environment.event_webhook_secret else []
        self._configured = {
            self.digest(value): _ValidKey(key_id, (self.digest(value),), Principal(f"key:{key_id}"))
            for key_id, value in environment.api_keys
        }

    def digest(self, value: str) -> bytes:
        """Return the HMAC-SHA256 of a key's value under CORE_AUTH_SECRET, which is stored in its place."""
        return hmac.digest(self._secret, value.encode("latin-1", "replace"), hashlib.sha256)

    def signing_secret(self, key_id: str, digest: bytes) -> str:
        """Return the `whsec_…` secret of a key's value with this `digest`."""
        message = b"signing-secret\0" + key_id.encode() + b"\0" + digest
        return "whsec_" + base64.b64encode(hmac.digest(self._secret, message, hashlib.sha256)).decode()

    def issue(self, key: ApiKey) -> IssuedKey:
        """Give `key` its first value and save it."""
        value = new_key_value()
        key.digest = self.digest(value)
        key.created_at = timezone.now()
        key.save()
        return self._issued(key, value)

    def rotate(self, key: ApiKey, overlap: timedelta = ROTATION_OVERLAP) -> IssuedKey:
        """Give `key` a new value; the one before stays valid for `overlap`.

        Of two rotations at once the second waits for the first: the row is locked.
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
        return self._issued(row, value)

    def revoke(self, key: ApiKey) -> None:
        """End `key` immediately. This can't be undone."""
        ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())

    def authenticate(self, headers: Mapping[str, str], body: bytes, address: str) -> Principal:
        """Return the signer of `body`. Raises Unauthenticated, and Outage if keys cannot be looked up.

        `headers` are found by lower-case names. The signature may be made with the shared secret or with the
        signing secret of the key in the request; a key without a signature is not enough.
        """
        value = key_in_headers(headers)
        key = self._lookup(value) if value is not None else None
        if key is None and (value is not None or self.environment.webhook_require_key):
            raise Unauthenticated
        own = [self.signing_secret(key.key_id, digest) for digest in key.digests] if key else []
        if not self._is_signed([*self._shared, *own], headers, body):
            raise Unauthenticated
        return key.principal if key else Principal(address)

    def has_credentials(self, headers: Mapping[str, str]) -> bool:
        """Return whether any body could make `authenticate` accept these headers."""
        if self.environment.webhook_require_key and not key_in_headers(headers):
            return False
        if _is_standard(headers):
            return all(headers.get(name) for name in SIGNATURE_HEADERS)
        return bool(headers.get("x-signature")) and self.environment.webhook_allow_legacy

    def identify(self, value: str) -> Principal | None:
        """Return the owner of the key with this value, None if it is not valid now."""
        key = self._lookup(value)
        return key.principal if key else None

    def _is_signed(self, secrets_: list[str], headers: Mapping[str, str], body: bytes) -> bool:
        if _is_standard(headers):
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

    def _issued(self, key: ApiKey, value: str) -> IssuedKey:
        return IssuedKey(key, value, self.signing_secret(key.key_id, bytes(key.digest)))


def _find_key(digest: bytes) -> _ValidKey | None:
    """Return the key that is valid now; the time of a look-up by HMAC reveals nothing about the value."""
    now = timezone.now()
    key = valid_keys([digest], now).select_related("reader").first()
    if key is None:
        return None
    _record_use(key, now)
    digests = [bytes(key.digest)]
    if key.previous_digest and key.previous_until and key.previous_until > now:
        digests.append(bytes(key.previous_digest))
    scopes = frozenset(key.scopes)
    if getattr(key, "reader", None):
        scopes &= {READ}  # a customer's may read the feed at most, whatever it was given
    ecosystems, agents = frozenset(key.ecosystems) or None, frozenset(key.agents) or None
    principal = Principal(f"key:{key.key_id}", scopes, ecosystems, agents)
    return _ValidKey(key.key_id, tuple(digests), principal)


def valid_keys(digests: Sequence[bytes], now: datetime) -> QuerySet[ApiKey]:
    """Return the keys that are valid at `now` by one of `digests`."""
    current = Q(digest__in=digests) | Q(previous_digest__in=digests, previous_until__gt=now)
    return ApiKey.objects.filter(current).filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


def _record_use(key: ApiKey, now: datetime) -> None:
    if key.last_used_at is None or now - key.last_used_at > LAST_USED_INTERVAL:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - LAST_USED_INTERVAL)
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def key_in_headers(headers: Mapping[str, str]) -> str | None:
    """Return the API key in `Authorization: Bearer` or `X-API-Key`, None if there is neither."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    return headers.get("x-api-key")


def new_key_value() -> str:
    """Return a new key's value: 256 random bits, with a prefix that secret scanners can find."""
    return "shk_" + secrets.token_urlsafe(32)


def new_key_suffix() -> str:
    """Return what distinguishes the ids of keys of one name: six hexadecimal digits."""
    return secrets.token_hex(3)


def new_key_id(name: str, suffix: str = "") -> str:
    """Return an id for a key, readable in logs: its name, and `suffix` or a random one."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32] or "key"
    return f"{slug}-{suffix or new_key_suffix()}"


@lru_cache(maxsize=4)
def auth_manager(environment: Environment) -> AuthManager:
    """Return the AuthManager of an environment, one for each."""
    return AuthManager(environment)


def _is_standard(headers: Mapping[str, str]) -> bool:
    """Return whether any of the headers of Standard Webhooks is there, whatever it holds."""
    return "webhook-signature" in headers or any(name.lower().startswith("webhook-") for name in headers)

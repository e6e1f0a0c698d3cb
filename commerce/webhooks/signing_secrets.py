"""Signing secrets of endpoints, which are derived, and their addresses, which are sealed.

Both hang on CORE_AUTH_SECRET, as the hashes of keys do: who reads the database learns neither.
"""

import base64
import hashlib
import hmac
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.utils import timezone

from commerce.models import Endpoint


def signing_secret(endpoint: Endpoint, generation: int | None = None) -> str:
    """Return the `whsec_…` secret of an endpoint, of its present generation unless told otherwise."""
    number = endpoint.generation if generation is None else generation
    message = f"endpoint-secret\0{endpoint.public_id}\0{number}".encode()
    return "whsec_" + base64.b64encode(_derive(message)).decode()


def valid_secrets(endpoint: Endpoint) -> list[str]:
    """Return the secrets that sign now: the present one, and for a while after a rotation the one before."""
    found = [signing_secret(endpoint)]
    if endpoint.previous_until and endpoint.previous_until > timezone.now():
        found.append(signing_secret(endpoint, endpoint.generation - 1))
    return found


def seal(address: str) -> str:
    """Encrypt an address for the database."""
    return _box(_auth_secret()).encrypt(address.encode()).decode()


def unseal(endpoint: Endpoint) -> str:
    """Return an endpoint's address. Raises cryptography's InvalidToken when CORE_AUTH_SECRET was changed."""
    return _box(_auth_secret()).decrypt(endpoint.sealed.encode()).decode()


def is_sealed(endpoint: Endpoint, address: str) -> bool:
    """Tell whether this is an endpoint's address; never of one that cannot be decrypted any more."""
    try:
        return unseal(endpoint) == address
    except InvalidToken:
        return False


def _auth_secret() -> bytes:
    return (settings.ENVIRONMENT.auth_secret or "").encode()


def _derive(message: bytes) -> bytes:
    return hmac.digest(_auth_secret(), message, hashlib.sha256)


@lru_cache(maxsize=4)
def _box(auth_secret: bytes) -> Fernet:
    key = hmac.digest(auth_secret, b"endpoint-address", hashlib.sha256)
    return Fernet(base64.urlsafe_b64encode(key))

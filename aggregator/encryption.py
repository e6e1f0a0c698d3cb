"""Addresses at rest: encrypted under CORE_AUTH_SECRET, because they hold tokens and a database is dumped,
copied and passed on more often than an environment.
"""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings


class DecryptionError(Exception):
    """The text was encrypted under another CORE_AUTH_SECRET, and must be entered again."""


def encrypt(text: str, purpose: bytes) -> bytes:
    """Return `text` encrypted with a key of its purpose alone."""
    return _fernet(purpose).encrypt(text.encode())


def decrypt(encrypted: bytes | memoryview, purpose: bytes) -> str:
    """Return the text. Raises DecryptionError."""
    try:
        return _fernet(purpose).decrypt(bytes(encrypted)).decode()
    except InvalidToken:
        raise DecryptionError("encrypted under another CORE_AUTH_SECRET; enter the address again") from None


def derive(message: bytes) -> bytes:
    """Return the 32 bytes that CORE_AUTH_SECRET makes of a message (HMAC-SHA256)."""
    secret = settings.ENVIRONMENT.auth_secret or ""
    return hmac.digest(secret.encode(), message, hashlib.sha256)


def _fernet(purpose: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derive(purpose)))

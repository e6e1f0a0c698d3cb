"""Channel URLs at rest: encrypted under CORE_AUTH_SECRET, because they hold tokens and a database is dumped,
copied and handed round more often than an environment.
"""

import base64
import hashlib
import hmac

from cryptography.fernet import Fernet, InvalidToken

from ecosystems.env import Environment


class Unreadable(Exception):
    """The URL was encrypted under another CORE_AUTH_SECRET, and must be entered again."""


def seal(environment: Environment, url: str) -> bytes:
    return _fernet(environment).encrypt(url.encode())


def unseal(environment: Environment, sealed: bytes | memoryview) -> str:
    """Return the URL; raises Unreadable."""
    try:
        return _fernet(environment).decrypt(bytes(sealed)).decode()
    except InvalidToken:
        raise Unreadable("encrypted under another CORE_AUTH_SECRET; enter the URL again") from None


def _fernet(environment: Environment) -> Fernet:
    secret = (environment.auth_secret or "").encode()
    return Fernet(base64.urlsafe_b64encode(hmac.digest(secret, b"alert-channels", hashlib.sha256)))

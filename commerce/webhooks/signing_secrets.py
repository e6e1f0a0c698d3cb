"""Signing secrets of endpoints, which are derived, and their addresses, which are encrypted.

Both depend on CORE_AUTH_SECRET, as the hashes of keys do: the database alone reveals neither.
"""

import base64
from contextlib import suppress

from django.utils import timezone

from aggregator import encryption
from commerce.models import Endpoint

PURPOSE = b"endpoint-address"


def signing_secret(endpoint: Endpoint, generation: int | None = None) -> str:
    """Return the `whsec_…` secret of an endpoint, by default of its present generation."""
    number = endpoint.generation if generation is None else generation
    message = f"endpoint-secret\0{endpoint.public_id}\0{number}".encode()
    return "whsec_" + base64.b64encode(encryption.derive(message)).decode()


def valid_secrets(endpoint: Endpoint) -> list[str]:
    """Return the secrets that sign now: the present one, after a rotation the previous one as well."""
    found = [signing_secret(endpoint)]
    if endpoint.previous_until and endpoint.previous_until > timezone.now():
        found.append(signing_secret(endpoint, endpoint.generation - 1))
    return found


def encrypt_address(address: str) -> bytes:
    """Return an address as the database keeps it."""
    return encryption.encrypt(address, PURPOSE)


def decrypted_address(endpoint: Endpoint) -> str:
    """Return an endpoint's address. Raises DecryptionError when CORE_AUTH_SECRET was changed."""
    return encryption.decrypt(endpoint.encrypted_address, PURPOSE)


def known_address(endpoint: Endpoint) -> str | None:
    """Return an endpoint's address; None for one that cannot be decrypted any more."""
    with suppress(encryption.DecryptionError):
        return decrypted_address(endpoint)
    return None


def visible_address(endpoint: Endpoint) -> str:
    """Return a webhook's URL; its label where that cannot be decrypted any more, and for a chat."""
    is_webhook = endpoint.channel == Endpoint.Channel.WEBHOOK
    return (known_address(endpoint) if is_webhook else None) or endpoint.label

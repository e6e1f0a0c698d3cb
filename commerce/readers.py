"""Readers: the customer behind an API key, and the entitlement of the customer's subscription."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from aggregator.http import api_keys
from aggregator.http.problems import CHALLENGE, Problem
from aggregator.ledger.errors import classified
from aggregator.models import ApiKey
from commerce import entitlements
from commerce.entitlements import OPERATOR, Entitlement


@dataclass(frozen=True)
class Reader:
    """A key that is valid now and may read the feed: a customer's or an operator's."""

    key_id: str
    digest: bytes
    """That of the key's value by which it was found."""
    customer_id: int
    entitlement: Entitlement | None
    """None where no subscription is live."""
    ecosystems: tuple[str, ...]
    """Those that the key is restricted to; empty means all that the entitlement has."""
    is_authenticated: bool = True

    def require_entitlement(self) -> Entitlement:
        """Return the entitlement. Raises Problem 403 where no subscription is live."""
        if self.entitlement is None:
            raise Problem(403, "subscription_required", "This customer has no live subscription.")
        return self.entitlement


def find_reader(headers: Mapping[str, str]) -> Reader:
    """Return the reader whose API key a request carries in its headers, found by lower-case names.

    Raises Problem 401 for no valid key, 403 for one that may not read; Outage where it cannot be looked up.
    """
    value = api_keys.key_in_headers(headers)
    manager = api_keys.auth_manager(settings.ENVIRONMENT)
    sender = manager.identify(value) if value else None
    if value is None or sender is None:
        raise unauthenticated()
    if api_keys.READ in sender.scopes:
        wanted = manager.digest(value)
        if found := find_readers([wanted]).get(wanted):
            return found
    raise Problem(403, "scope_missing", "The API key may not read the feed.")


def find_readers(digests: Iterable[bytes]) -> dict[bytes, Reader]:
    """Return the readers of those digests that may read now, in two queries. Raises Outage."""
    wanted = set(digests)
    now = timezone.now()
    with classified():
        keys = list(
            api_keys.valid_keys(list(wanted), now)
            .filter(scopes__contains=[api_keys.READ])
            .select_related("reader")
        )
        entitled = entitlements.live_entitlements({_customer_of(key) for key in keys} - {OPERATOR})
    found: dict[bytes, Reader] = {}
    for key in keys:
        customer = _customer_of(key)
        allowed = entitlements.OPERATORS_ENTITLEMENT if customer == OPERATOR else entitled.get(customer)
        allowed = allowed and allowed.within(key.ecosystems)
        passing = {bytes(key.digest)}
        if key.previous_digest and key.previous_until and key.previous_until > now:
            passing.add(bytes(key.previous_digest))
        for digest in passing & wanted:
            found[digest] = Reader(key.key_id, digest, customer, allowed, tuple(key.ecosystems))
    return found


def _customer_of(key: ApiKey) -> int:
    """Return whose key it is, OPERATOR for none of a customer's."""
    reader = getattr(key, "reader", None)
    return reader.customer_id if reader else OPERATOR


def unauthenticated() -> Problem:
    return Problem(401, "unauthenticated", "A valid API key is needed.", headers=CHALLENGE)

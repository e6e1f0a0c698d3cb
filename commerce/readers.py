"""Who reads: from a key's value to a customer and what the subscription gives right to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.utils import timezone

from aggregator.http import api_keys
from aggregator.http.problems import CHALLENGE, Problem
from aggregator.ledger.errors import classified
from aggregator.models import ApiKey
from commerce.entitlements import Entitlement, entitlement
from commerce.models import Subscription


@dataclass(frozen=True)
class Reader:
    """A customer's key that is valid now."""

    key_id: str
    customer_id: int
    rights: Entitlement | None
    """None where no subscription is live."""
    is_authenticated: bool = True

    def entitled(self) -> Entitlement:
        """Return the rights. Raises Problem 403 where there are none."""
        if self.rights is None:
            raise Problem(403, "subscription_required", "No subscription of this customer's is live.")
        return self.rights


def digest(headers: Mapping[str, str]) -> bytes:
    """Return the digest of the key that a request carries; `headers` has lower-case names.

    Raises Problem 401 where it carries none.
    """
    value = api_keys.key_in_headers(headers)
    if not value:
        raise unauthenticated()
    return api_keys.auth_manager(settings.ENVIRONMENT).digest(value)


def reader(headers: Mapping[str, str]) -> Reader:
    """Return whose key a request carries.

    Raises Problem 401 for no valid key, 403 for one that may not read; Outage where it cannot be looked up.
    """
    value = api_keys.key_in_headers(headers)
    manager = api_keys.auth_manager(settings.ENVIRONMENT)
    sender = manager.identify(value) if value else None
    if value is None or sender is None:
        raise unauthenticated()
    if api_keys.READ in sender.scopes:
        wanted = manager.digest(value)
        if found := readers([wanted]).get(wanted):
            return found
    raise Problem(403, "scope_missing", "The API key may not read the feed.")


def readers(digests: Iterable[bytes]) -> dict[bytes, Reader]:
    """Return the readers of those digests that may read now, in two queries. Raises Outage."""
    wanted = set(digests)
    now = timezone.now()
    with classified():
        keys = list(
            api_keys.valid_keys(list(wanted), now)
            .filter(scopes__contains=[api_keys.READ], reader__isnull=False)
            .select_related("reader")
        )
        live = Subscription.objects.entitling(now).filter(
            customer__in={key.reader.customer_id for key in keys}
        )
        rights = {subscription.customer_id: entitlement(subscription) for subscription in live}
    found = {}
    for key in keys:
        owner = _reader(key, rights.get(key.reader.customer_id))
        passing = {bytes(key.digest)}
        if key.previous_digest and key.previous_until and key.previous_until > now:
            passing.add(bytes(key.previous_digest))
        found.update(dict.fromkeys(passing & wanted, owner))
    return found


def _reader(key: ApiKey, rights: Entitlement | None) -> Reader:
    if rights and key.ecosystems:
        rights = rights.within(key.ecosystems)
    return Reader(key.key_id, key.reader.customer_id, rights)


def unauthenticated() -> Problem:
    return Problem(401, "unauthenticated", "A valid API key is needed.", headers=CHALLENGE)

"""Sign-in of customers, by e-mail link or password. Operators cannot sign in this way."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core import signing
from django.core.mail import send_mail
from django.db import connection, transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import constant_time_compare, get_random_string, salted_hmac

from aggregator.http import api_keys, rate_limits
from aggregator.http.sign_in_limits import address_of_client
from aggregator.postgres.pool import release_connections
from commerce.models import Customer

logger = logging.getLogger("signal_hub.pages")

LINK_SALT = "commerce.signin"
BROWSER_KEY = "sign_in_browser"
LINK_LIFETIME = timedelta(minutes=15)
LINKS_PER_RECIPIENT = "5/hour"
LINKS_PER_CLIENT = "30/hour"
ACCOUNTS_PER_CLIENT = "30/hour"

SIGN_IN_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


class InvalidLink(Exception):
    """The link has expired, was used, or is malformed. The message is for the customer."""


def can_send_email() -> bool:
    """Return whether this hub is configured to send e-mail."""
    return bool(settings.EMAIL_URL)


def email_sign_in_link(request: HttpRequest, email: str, after: str) -> None:
    """Send a link that signs `email` in, creates its account if necessary, and leads to the page `after`.

    The address is in lower case. Raises Problem 429, OSError, or UnicodeError for one that can be no host's.
    """
    limiter = rate_limits.rate_limiter(settings.ENVIRONMENT)
    limiter.hit(LINKS_PER_CLIENT, "sign-in links from", address_of_client(request))
    limiter.hit(LINKS_PER_RECIPIENT, "sign-in links to", email)
    content = {
        "email": email,
        "state": _state(email),
        "after": after,
        "browser": _browser(request, create=True),
    }
    token = signing.dumps(content, salt=LINK_SALT, compress=True)
    link = public_url(request, reverse("shop:sign-in-link", args=[token]))
    minutes = LINK_LIFETIME // timedelta(minutes=1)
    text = render_to_string("commerce/email/sign_in.txt", {"link": link, "minutes": minutes})
    release_connections()  # the mail server may take its time
    send_mail("Sign in to Signal Hub", text, settings.DEFAULT_FROM_EMAIL, [email])


def public_url(request: HttpRequest, path: str) -> str:
    """Return the absolute URL of a path: at the hub's public address, if it has one, whatever `Host` says."""
    return settings.PUBLIC_ORIGIN + path if settings.PUBLIC_ORIGIN else request.build_absolute_uri(path)


def _browser(request: HttpRequest, *, create: bool = False) -> str:
    """Return what identifies this browser's session to its own links, "" for a browser without one."""
    if create and BROWSER_KEY not in request.session:
        request.session[BROWSER_KEY] = get_random_string(22)
    return str(request.session.get(BROWSER_KEY, ""))


@dataclass(frozen=True)
class SignInLink:
    """What a link holds, whose signature and age are right."""

    email: str
    after: str
    """The page that it leads to."""
    state: str
    browser: str

    def is_of(self, request: HttpRequest) -> bool:
        """Return whether the link was requested in this browser."""
        return bool(self.browser) and constant_time_compare(self.browser, _browser(request))


def read_link(token: str) -> SignInLink:
    """Return what a link holds. Raises InvalidLink."""
    try:
        return SignInLink(**signing.loads(token, salt=LINK_SALT, max_age=LINK_LIFETIME))
    except (signing.BadSignature, TypeError):
        raise InvalidLink("This link has expired or is incomplete. Request a new one.") from None


def user_from_link(link: SignInLink) -> User:
    """Return the user that a link signs in, created if necessary. Raises InvalidLink if it was used."""
    with transaction.atomic(), connection.cursor() as cursor:
        # Of two uses at once only the first succeeds.
        cursor.execute(SIGN_IN_LOCK, [f"sign-in {link.email}"])
        if not constant_time_compare(link.state, _state(link.email)):
            raise InvalidLink("This link was already used. Request a new one.")
        customer, _ = _get_or_create(link.email)
        user = user_for(customer)
        if user.is_staff or not user.is_active:
            raise InvalidLink("This account cannot sign in here.")
        if customer.is_unproven:
            _hand_over(customer, user)
        user.last_login = timezone.now()  # makes the link invalid
        user.save(update_fields=["last_login"])
    return user


def _hand_over(customer: Customer, user: User) -> None:
    """End all access that was set up before the owner of the address proved that it is theirs.

    The person who signed up with it may be another person. Without the password the sessions end too, because
    Django derives their validity from it.
    """
    user.set_unusable_password()
    user.save(update_fields=["password"])
    manager = api_keys.auth_manager(settings.ENVIRONMENT)
    for reader in customer.reader_keys.select_related("key"):
        manager.revoke(reader.key)
    customer.endpoints.all().delete()
    customer.is_unproven = False
    customer.save(update_fields=["is_unproven"])


def _state(email: str) -> str:
    """Return text that changes with every sign-in and every password, so that a link works once."""
    customer = _find_customer(email)
    user = customer.user if customer else None
    about = f"{customer and customer.pk} {user and user.last_login} {user and user.password}"
    return salted_hmac(LINK_SALT, about).hexdigest()


def _find_customer(email: str) -> Customer | None:
    """Return the customer with this address, in any case: an operator may have entered capitals.

    Postgres compares capitals, and those of `i` and of a Turkish dotless one are the same: others' addresses.
    """
    found = Customer.objects.filter(email__iexact=email).select_related("user").order_by("pk")
    return next((customer for customer in found if customer.email.lower() == email), None)


def _get_or_create(email: str, **defaults: Any) -> tuple[Customer, bool]:
    """Return the customer with this address, and whether it was just created."""
    customer = _find_customer(email)
    return (customer, False) if customer else Customer.objects.get_or_create(defaults, email=email)


def notify_address_change(customer: Customer, before: str) -> bool:
    """Notify a customer's previous address that it was replaced; return whether a mail was sent."""
    if not can_send_email():
        return False
    text = render_to_string("commerce/email/address_changed.txt", {"customer": customer, "before": before})
    release_connections()
    try:
        send_mail("Your Signal Hub e-mail address was changed", text, settings.DEFAULT_FROM_EMAIL, [before])
    except (OSError, UnicodeError) as error:  # the latter where no host can have such a name
        logger.warning(
            "could not notify customer=%d of the new address: %s", customer.pk, type(error).__name__
        )
        return False
    return True


def user_for(customer: Customer) -> User:
    """Return the user that a customer signs in as, created if necessary."""
    if customer.user is None:
        # Not the e-mail address: an operator may have it as the user name.
        user = User(username=f"customer-{customer.pk}", email=customer.email)
        user.set_unusable_password()
        user.save()
        customer.user = user
        customer.save(update_fields=["user"])
    return customer.user


def username_for(email: str) -> str:
    """Return the user name for an e-mail address; one that does not exist if the address is unknown."""
    customer = _find_customer(email)
    if customer is None or customer.user is None or customer.user.is_staff:
        return f"unknown {email}"[:150]
    return customer.user.get_username()


def create_account(request: HttpRequest, email: str, password: str) -> None:
    """Create a customer with a password, unless the address is taken. For hubs without e-mail.

    Raises Problem 429.
    """
    rate_limits.rate_limiter(settings.ENVIRONMENT).hit(
        ACCOUNTS_PER_CLIENT, "accounts from", address_of_client(request)
    )
    with transaction.atomic():
        customer, created = _get_or_create(email, is_unproven=True)
        if not created:
            make_password(password)  # so that the answer takes as long
            return
        user = user_for(customer)
        user.set_password(password)
        user.save(update_fields=["password"])

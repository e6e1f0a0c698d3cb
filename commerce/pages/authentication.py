"""How customers get in: a link by e-mail, or a password. Operators never do this way."""

import logging
from datetime import timedelta

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

from aggregator.http import rate_limits
from aggregator.http.client_address import client_address
from commerce.models import Customer

logger = logging.getLogger("signal_hub.pages")

LINK_SALT = "commerce.signin"
LINK_LIFETIME = timedelta(minutes=15)
LINKS_PER_RECIPIENT = "5/hour"
LINKS_PER_CLIENT = "30/hour"
ACCOUNTS_PER_CLIENT = "30/hour"
PASSWORDS_PER_CLIENT = "120/hour"
"""Passwords that an address may try, whoever's: axes counts those of one customer from one address."""

SIGN_IN_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"


class InvalidLink(Exception):
    """The link is too old, was used, or is none; the text is for the customer."""


def can_send_email() -> bool:
    """Tell whether the hub can send e-mail."""
    return bool(settings.EMAIL_URL)


def email_sign_in_link(request: HttpRequest, email: str, after: str) -> None:
    """Mail a link that signs `email` in, also one that is new here, and leads to the page `after`.

    Raises Problem 429, or OSError.
    """
    limiter = rate_limits.rate_limiter(settings.ENVIRONMENT)
    limiter.hit(LINKS_PER_CLIENT, "sign-in links from", _address(request))
    limiter.hit(LINKS_PER_RECIPIENT, "sign-in links to", email.lower())
    content = {"email": email.lower(), "state": _state(email), "after": after}
    token = signing.dumps(content, salt=LINK_SALT, compress=True)
    link = request.build_absolute_uri(reverse("shop:sign-in-link", args=[token]))
    minutes = LINK_LIFETIME.seconds // 60
    text = render_to_string("commerce/email/sign_in.txt", {"link": link, "minutes": minutes})
    send_mail("Your link to Signal Hub", text, settings.DEFAULT_FROM_EMAIL, [email])


def _address(request: HttpRequest) -> str:
    return client_address(request.META, settings.ENVIRONMENT.trusted_proxies)


def user_from_link(token: str) -> tuple[User, str]:
    """Return the user that a link signs in, and where it leads; a new customer becomes one here.

    Raises NoEntry.
    """
    try:
        content = signing.loads(token, salt=LINK_SALT, max_age=LINK_LIFETIME)
    except signing.BadSignature:
        raise InvalidLink("This link is too old, or not complete. Ask for another.") from None
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SIGN_IN_LOCK, [f"sign-in {content['email']}"])  # of two uses at once, one is the first
        if content["state"] != _state(content["email"]):
            raise InvalidLink("This link was used already. Ask for another.")
        customer, _ = _known_or_new(content["email"])
        user = user_for(customer)
        if user.is_staff or not user.is_active:
            raise InvalidLink("This account signs in elsewhere.")
        user.last_login = timezone.now()  # which uses it up
        user.save(update_fields=["last_login"])
    return user, content["after"]


def _state(email: str) -> str:
    """Return what changes with every sign-in, so that a link works once."""
    customer = _known(email)
    if customer is None or customer.user is None:
        return "new" if customer is None else f"{customer.pk}"
    return f"{customer.pk} {customer.user.last_login} {customer.user.password[-12:]}"


def _known(email: str) -> Customer | None:
    """Return whose address this is; an operator may have entered it with capitals."""
    return Customer.objects.filter(email__iexact=email).select_related("user").first()


def _known_or_new(email: str) -> tuple[Customer, bool]:
    """Return whose address this is, and whether the customer was made just now."""
    customer = _known(email)
    return (customer, False) if customer else Customer.objects.get_or_create(email=email)


def notify_address_change(customer: Customer, before: str) -> bool:
    """Tell an address that it is a customer's no more; return whether a mail could be sent."""
    if not can_send_email():
        return False
    text = render_to_string("commerce/email/address_changed.txt", {"customer": customer, "before": before})
    try:
        send_mail("Your Signal Hub account has another address", text, settings.DEFAULT_FROM_EMAIL, [before])
    except OSError as error:
        logger.warning("no notice of customer=%d's new address: %s", customer.pk, type(error).__name__)
        return False
    return True


def user_for(customer: Customer) -> User:
    """Return the user that a customer signs in as, made if need be."""
    if customer.user is None:
        # Not the e-mail address: an operator's name may be the same.
        user = User(username=f"customer-{customer.pk}", email=customer.email)
        user.set_unusable_password()
        user.save()
        customer.user = user
        customer.save(update_fields=["user"])
    return customer.user


def username_for(email: str) -> str:
    """Return the name to authenticate for an e-mail address; one that nobody has where it is unknown."""
    customer = _known(email)
    if customer is None or customer.user is None or customer.user.is_staff:
        return f"unknown {email.lower()}"[:150]
    return customer.user.get_username()


def count_password_attempt(request: HttpRequest) -> None:
    """Count a password that is tried. Raises Problem 429."""
    rate_limits.rate_limiter(settings.ENVIRONMENT).hit(
        PASSWORDS_PER_CLIENT, "passwords from", _address(request)
    )


def create_account(request: HttpRequest, email: str, password: str) -> None:
    """Make a customer with a password, unless the address is taken. For hubs without e-mail.

    Raises Problem 429.
    """
    rate_limits.rate_limiter(settings.ENVIRONMENT).hit(
        ACCOUNTS_PER_CLIENT, "accounts from", _address(request)
    )
    with transaction.atomic():
        customer, created = _known_or_new(email.lower())
        if not created:
            make_password(password)  # takes as long
            return
        user = user_for(customer)
        user.set_password(password)
        user.save(update_fields=["password"])

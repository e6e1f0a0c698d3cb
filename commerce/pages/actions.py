"""Actions of the account page: API keys and endpoints."""

from collections.abc import Callable

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from aggregator.http import api_keys
from aggregator.http.problems import Problem
from commerce import change_limit
from commerce.entitlements import entitlement
from commerce.models import Customer, Endpoint
from commerce.pages import context, forms, views
from commerce.pages.views import customer_required
from commerce.webhooks import endpoints

MAX_KEYS = 20


@require_POST
@customer_required
def create_key(request: HttpRequest, customer: Customer) -> HttpResponse:
    form = forms.NewKeyForm(request.POST)
    live = customer.reader_keys.filter(key__revoked_at=None).count()
    if not form.is_valid():
        messages.error(request, "Enter a key name of at most 64 characters.")
    elif live >= MAX_KEYS:
        messages.error(request, f"You have {MAX_KEYS} keys, the maximum. Revoke one first.")
    elif _within_rate(request, customer):
        issued = customer.issue_key(form.cleaned_data["name"])
        return _show_secret(request, f"Key {issued.key.key_id}", "key", issued.value)
    return redirect("shop:account")


@require_POST
@customer_required
def change_key(request: HttpRequest, customer: Customer, key_id: str, action: str) -> HttpResponse:
    """Rotate or revoke one of the customer's keys."""
    key = get_object_or_404(customer.reader_keys.select_related("key"), key__key_id=key_id).key
    manager = api_keys.auth_manager(settings.ENVIRONMENT)
    if action not in {"rotate", "revoke"}:
        raise Http404
    if not _within_rate(request, customer):
        return redirect("shop:account")
    if action == "revoke":
        manager.revoke(key)
        messages.success(request, f"Key {key.key_id} revoked.")
        return redirect("shop:account")
    if key.revoked_at:
        messages.error(request, f"Key {key.key_id} is already revoked. Create a new one.")
        return redirect("shop:account")
    return _show_secret(request, f"Key {key.key_id}", "rotated", manager.rotate(key).value)


@require_POST
@customer_required
def create_endpoint(request: HttpRequest, customer: Customer) -> HttpResponse:
    form = forms.NewEndpointForm(request.POST, auto_id=views.ENDPOINT_AUTO_ID)
    live = customer.subscription()
    if live is None:
        messages.error(request, "Choose a plan first.")
        return redirect("shop:account")
    if form.is_valid() and _within_rate(request, customer):
        try:
            endpoint, secret = endpoints.create(
                entitlement(live),
                form.cleaned_data["channel"],
                form.cleaned_data["url"],
                outcomes=form.cleaned_data["outcomes"],
            )
        except Problem as refusal:
            form.add_error("url", refusal.detail)
        else:
            if secret:
                return _show_secret(request, f"Webhook {endpoint.label}", "secret", secret)
            messages.success(request, f"Endpoint {endpoint.label} added. New signals are sent to it.")
            return redirect("shop:account")
    return views.account_page(request, customer, form)


@require_POST
@customer_required
def change_endpoint(request: HttpRequest, customer: Customer, endpoint_id: str, action: str) -> HttpResponse:
    """Test, rotate, pause, resume or delete one of the customer's endpoints."""
    endpoint = get_object_or_404(Endpoint, customer=customer, public_id=endpoint_id)
    if not _within_rate(request, customer):
        return redirect("shop:account")
    try:
        if action == "rotate" and endpoint.channel == Endpoint.Channel.WEBHOOK:
            return _show_secret(request, f"Webhook {endpoint.label}", "secret", endpoints.rotate(endpoint))
        if action not in ENDPOINT_ACTIONS:
            raise Http404
        act, message = ENDPOINT_ACTIONS[action]
        if action == "test" and customer.subscription() is None:
            messages.error(request, "Choose a plan first.")
        else:
            act(endpoint)
            messages.success(request, message)
    except Endpoint.DoesNotExist:  # another request deleted it at the same time
        raise Http404 from None
    return redirect("shop:account")


ENDPOINT_ACTIONS: dict[str, tuple[Callable[[Endpoint], object], str]] = {
    "test": (endpoints.send_test, "Test message sent. Its result appears below."),
    "pause": (
        lambda endpoint: endpoints.set_paused(endpoint, True),
        "Paused. Signals are kept until you resume.",
    ),
    "resume": (lambda endpoint: endpoints.set_paused(endpoint, False), "Resumed."),
    "delete": (lambda endpoint: endpoint.delete(), "Endpoint deleted."),
}


def _within_rate(request: HttpRequest, customer: Customer) -> bool:
    try:
        change_limit.count_change(customer.pk)
    except Problem:
        messages.error(request, "Too many changes. Try again in a minute.")
        return False
    return True


def _show_secret(request: HttpRequest, title: str, kind: str, value: str) -> HttpResponse:
    """Show a secret once, in the response to the request that created it."""
    page = context.page_context(request, title, kind=kind, value=value)
    return render(request, "commerce/pages/secret.html", page)

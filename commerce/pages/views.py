"""The customers' pages: pricing, sign-in, account."""

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import authenticate, login, update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from aggregator.http.problems import Problem
from aggregator.http.sign_in_limits import count_password_attempt
from commerce.models import Customer
from commerce.pages import authentication, context, forms

View = Callable[..., HttpResponse]
AUTH_BACKEND = "django.contrib.auth.backends.ModelBackend"
ENDPOINT_AUTO_ID = "endpoint_%s"


def customer_required(view: View) -> View:
    """Pass the signed-in customer to a view as its second argument; redirect others to sign in."""

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        customer = context.signed_in_customer(request)
        if customer is None:
            after = request.get_full_path()
            if request.method != "GET":  # the customer repeats the action after signing in
                after = reverse("shop:plans" if "slug" in kwargs else "shop:account")
            return redirect(f"{reverse('shop:sign-in')}?{urlencode({'next': after})}")
        return view(request, customer, *args, **kwargs)

    return never_cache(inner)


@require_safe
def plans(request: HttpRequest) -> HttpResponse:
    page = context.page_context(request, "Pricing")
    return render(request, "commerce/pages/plans.html", page | context.plans_context(page["customer"]))


@require_safe
@customer_required
def account(request: HttpRequest, customer: Customer) -> HttpResponse:
    return account_page(request, customer)


def account_page(
    request: HttpRequest, customer: Customer, refused: forms.NewEndpointForm | None = None
) -> HttpResponse:
    """Return the account page, with the errors of an endpoint's form if that was `refused`."""
    page = context.page_context(
        request, "Account", key_form=forms.NewKeyForm(), password_form=forms.NewPasswordForm()
    )
    page["endpoint_form"] = refused or forms.NewEndpointForm(auto_id=ENDPOINT_AUTO_ID)
    page |= context.account_context(customer) | {"acts": True, "paid": "paid" in request.GET}
    return render(request, "commerce/pages/account.html", page, status=400 if refused else 200)


@never_cache
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in by password, or show the sign-in page."""
    if context.signed_in_customer(request):
        return redirect(_safe_redirect(request.GET.get("next", ""), request))
    form = forms.PasswordSignInForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            count_password_attempt(request)
        except Problem:
            form.add_error(None, "Too many attempts from your address. Try again in an hour.")
            return _sign_in_page(request, form, status=429)
        name = authentication.username_for(form.cleaned_data["email"])
        user = authenticate(request, username=name, password=form.cleaned_data["password"])
        if user is not None:
            login(request, user)
            return redirect(_safe_redirect(request.GET.get("next", ""), request))
        form.add_error(None, "Incorrect e-mail address or password.")
    return _sign_in_page(request, form, status=400 if form.errors else 200)


@require_POST
@never_cache
def send_link(request: HttpRequest) -> HttpResponse:
    form = forms.SignInLinkForm(request.POST, auto_id="link_%s")
    if not authentication.can_send_email() or not form.is_valid():
        return _sign_in_page(request, forms.PasswordSignInForm(), link_form=form, status=400)
    try:
        after = _safe_redirect(request.POST.get("next", ""), request)
        authentication.email_sign_in_link(request, form.cleaned_data["email"], after)
    except Problem:
        form.add_error(None, "Too many links requested. Try again in an hour.")
        return _sign_in_page(request, forms.PasswordSignInForm(), link_form=form, status=429)
    except (OSError, UnicodeError):  # the latter where no host can have such a name
        form.add_error(None, "The e-mail could not be sent. Try again later.")
        return _sign_in_page(request, forms.PasswordSignInForm(), link_form=form, status=503)
    minutes = authentication.LINK_LIFETIME // timedelta(minutes=1)
    page = context.page_context(request, "Check your inbox", sent=form.cleaned_data, minutes=minutes)
    return render(request, "commerce/pages/link_sent.html", page)


@never_cache
def sign_in_by_link(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in by a link, with a button because mail scanners open links.

    The page names the account. In a browser that did not request the link, or where another account is
    signed in, it asks first: the link may have been sent by a person who wants this browser in their account.
    """
    try:
        link = authentication.read_link(token)
        if request.method != "POST":
            page = context.page_context(request, "Sign in", link=link, is_foreign=not link.is_of(request))
            return render(request, "commerce/pages/sign_in_by_link.html", page)
        user = authentication.user_from_link(link)
    except authentication.InvalidLink as invalid:
        messages.error(request, str(invalid))
        return redirect("shop:sign-in")
    login(request, user, AUTH_BACKEND)
    return redirect(_safe_redirect(link.after, request))


@never_cache
@sensitive_post_parameters("password")
def sign_up(request: HttpRequest) -> HttpResponse:
    """Create an account with a password, if this hub cannot send links."""
    if authentication.can_send_email():
        return redirect("shop:sign-in")
    form = forms.SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            authentication.create_account(request, form.cleaned_data["email"], form.cleaned_data["password"])
        except Problem:
            form.add_error(None, "Too many accounts created from your address. Try again in an hour.")
        else:
            # The same answer for an address that has an account, to not reveal who is a customer.
            messages.success(request, "Your account is ready. Sign in with your password.")
            known = forms.PasswordSignInForm(initial={"email": form.cleaned_data["email"]})
            return _sign_in_page(request, known)
    page = context.page_context(request, "Create account", form=form)
    return render(request, "commerce/pages/sign_up.html", page, status=400 if form.errors else 200)


@require_POST
@sensitive_post_parameters("password")
@customer_required
def set_password(request: HttpRequest, customer: Customer) -> HttpResponse:
    form = forms.NewPasswordForm(request.POST)
    if form.is_valid():
        user = authentication.user_for(customer)
        user.set_password(form.cleaned_data["password"])
        user.save(update_fields=["password"])
        update_session_auth_hash(request, user)
        messages.success(request, "Password updated.")
    else:
        messages.error(request, " ".join(map(str, form.errors.get("password", []))))
    return redirect("shop:account")


def _sign_in_page(
    request: HttpRequest,
    form: forms.PasswordSignInForm,
    link_form: forms.SignInLinkForm | None = None,
    status: int = 200,
) -> HttpResponse:
    after = request.POST.get("next") or request.GET.get("next", "")
    page = context.page_context(
        request,
        "Sign in",
        form=form,
        link_form=link_form or forms.SignInLinkForm(auto_id="link_%s"),
        by_mail=authentication.can_send_email(),
        next=after,
        next_query=urlencode({"next": after}),
    )
    return render(request, "commerce/pages/sign_in.html", page, status=status)


def _safe_redirect(wanted: str, request: HttpRequest) -> str:
    """Return the address to go to after sign-in: `wanted` if it is on this hub, else the account."""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return reverse("shop:account")

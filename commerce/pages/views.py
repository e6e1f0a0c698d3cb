"""The pages: prices, sign-in, account."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth import authenticate, login, logout, update_session_auth_hash
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe

from aggregator.http.problems import Problem
from commerce.models import Customer
from commerce.pages import authentication, context, forms

View = Callable[..., HttpResponse]
BACKEND = "django.contrib.auth.backends.ModelBackend"
ENDPOINT_IDS = "endpoint_%s"


def for_customers(view: View) -> View:
    """Let customers in, each as the second argument; send others to sign in."""

    @wraps(view)
    def inner(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        customer = context.customer_of(request)
        if customer is None:
            after = request.get_full_path()
            if request.method != "GET":  # what was chosen is chosen again, by whom we know then
                after = reverse("shop:plans" if "slug" in kwargs else "shop:account")
            return redirect(f"{reverse('shop:sign-in')}?{urlencode({'next': after})}")
        return view(request, customer, *args, **kwargs)

    return never_cache(inner)


@require_safe
def plans(request: HttpRequest) -> HttpResponse:
    page = context.base(request, "Prices")
    return render(request, "commerce/pages/plans.html", page | context.prices(page["customer"]))


@require_safe
@for_customers
def account(request: HttpRequest, customer: Customer) -> HttpResponse:
    return account_page(request, customer)


def account_page(
    request: HttpRequest, customer: Customer, refused: forms.EndpointForm | None = None
) -> HttpResponse:
    """Show the account; with an endpoint's form that was `refused`, what was typed and why."""
    page = context.base(request, "Account", key_form=forms.KeyForm(), password_form=forms.NewPasswordForm())
    page["endpoint_form"] = refused or forms.EndpointForm(auto_id=ENDPOINT_IDS)
    page |= context.account(customer) | {"acts": True, "paid": "paid" in request.GET}
    return render(request, "commerce/pages/account.html", page, status=400 if refused else 200)


@never_cache
@sensitive_post_parameters("password")
def sign_in(request: HttpRequest) -> HttpResponse:
    """Sign in by password, or show the ways in."""
    if context.customer_of(request):
        return redirect(_next(request.GET.get("next", ""), request))
    form = forms.PasswordForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            authentication.may_try(request)
        except Problem:
            form.add_error(None, "Too many passwords were tried from your address. Try again in an hour.")
            return _ways_in(request, form, status=429)
        name = authentication.username_of(form.cleaned_data["email"])
        user = authenticate(request, username=name, password=form.cleaned_data["password"])
        if user is not None:
            login(request, user)
            return redirect(_next(request.GET.get("next", ""), request))
        form.add_error(None, "This e-mail address and password do not belong together.")
    return _ways_in(request, form, status=400 if form.errors else 200)


@require_POST
@never_cache
def send_link(request: HttpRequest) -> HttpResponse:
    form = forms.LinkForm(request.POST, auto_id="link_%s")
    if not authentication.by_mail() or not form.is_valid():
        return _ways_in(request, forms.PasswordForm(), link_form=form, status=400)
    try:
        after = _next(request.POST.get("next", ""), request)
        authentication.send_link(request, form.cleaned_data["email"], after)
    except Problem:
        form.add_error(None, "Too many links were asked for. Try again in an hour.")
        return _ways_in(request, forms.PasswordForm(), link_form=form, status=429)
    except OSError:
        form.add_error(None, "The mail cannot be sent now. Try again later.")
        return _ways_in(request, forms.PasswordForm(), link_form=form, status=503)
    return render(
        request,
        "commerce/pages/link_sent.html",
        context.base(request, "A link is on its way", sent=form.cleaned_data),
    )


@never_cache
def enter(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in by a link: on a button, because mail scanners follow links."""
    if request.method != "POST":
        return render(request, "commerce/pages/enter.html", context.base(request, "Sign in"))
    try:
        user, after = authentication.enter(token)
    except authentication.NoEntry as no:
        messages.error(request, str(no))
        return redirect("shop:sign-in")
    login(request, user, BACKEND)
    return redirect(_next(after, request))


@never_cache
@sensitive_post_parameters("password")
def sign_up(request: HttpRequest) -> HttpResponse:
    """Make an account with a password, where no link can be sent."""
    if authentication.by_mail():
        return redirect("shop:sign-in")
    form = forms.SignUpForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            authentication.sign_up(request, form.cleaned_data["email"], form.cleaned_data["password"])
        except Problem:
            form.add_error(None, "Too many accounts were made from your address. Try again in an hour.")
        else:
            # The same answer for an address that has an account: else anybody could ask who is a customer.
            messages.success(request, "This address has an account now. Sign in with its password.")
            known = forms.PasswordForm(initial={"email": form.cleaned_data["email"]})
            return _ways_in(request, known)
    page = context.base(request, "Make an account", form=form)
    return render(request, "commerce/pages/sign_up.html", page, status=400 if form.errors else 200)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("shop:plans")


@require_POST
@sensitive_post_parameters("password")
@for_customers
def set_password(request: HttpRequest, customer: Customer) -> HttpResponse:
    form = forms.NewPasswordForm(request.POST)
    if form.is_valid():
        user = authentication.user_of(customer)
        user.set_password(form.cleaned_data["password"])
        user.save(update_fields=["password"])
        update_session_auth_hash(request, user)
        messages.success(request, "The password is set.")
    else:
        messages.error(request, " ".join(map(str, form.errors.get("password", []))))
    return redirect("shop:account")


def _ways_in(
    request: HttpRequest, form: forms.PasswordForm, link_form: forms.LinkForm | None = None, status: int = 200
) -> HttpResponse:
    page = context.base(
        request, "Sign in", form=form, link_form=link_form or forms.LinkForm(auto_id="link_%s")
    )
    after = request.POST.get("next") or request.GET.get("next", "")
    page |= {"by_mail": authentication.by_mail(), "next": after, "next_query": urlencode({"next": after})}
    return render(request, "commerce/pages/sign_in.html", page, status=status)


def _next(wanted: str, request: HttpRequest) -> str:
    """Return where to go after signing in; only to a page of this hub's."""
    if url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure()):
        return wanted
    return reverse("shop:account")

"""A real Chromium on a real server, signed in. Any error or warning in its console fails the test."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.servers import WAIT_TIMEOUT_S, free_port, serve, web

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The first has no window, which saves a third of their time."""
PASSWORD = "correct horse battery"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
"""Without a sandbox, since tests may run as root; it opens only our own server."""


@pytest.fixture(scope="module")
def chromium():
    """One Chromium for each file: its event loop, which would disturb others in this thread, ends with it."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium-headless-shell")
    from playwright.sync_api import sync_playwright

    # Playwright's synchronous interface keeps an event loop in this thread, and Django refuses queries there.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def operator(transactional_db):
    from django.contrib.auth.models import User

    return User.objects.create_superuser("olga")


@pytest.fixture(scope="module")
def plain_http_hub(run_shared):
    port = free_port()
    return serve(run_shared, web, port, AGG_SIGNAL_ENDPOINT=f"http://127.0.0.1:{port}/api/signals")


@pytest.fixture
def hub(plain_http_hub, redis_client):
    """Return the address of a running hub whose cookies do not need TLS."""
    return plain_http_hub


def session_of(user):
    """Return the key of a session in which the user is signed in."""
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client.session.session_key


@pytest.fixture
def complaints():
    """Collect the browser console's messages; a test that expects one removes it."""
    said: list[str] = []
    yield said
    assert said == []


@pytest.fixture
def sign_in(chromium, hub, operator, complaints):
    """Open the admin: `sign_in(width=390, dark=True)` returns the page."""
    contexts = []

    def do(width=1360, *, dark=False):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", base_url=hub
        )
        contexts.append(context)
        context.set_default_timeout(WAIT_TIMEOUT_S * 1000)
        page = context.new_page()
        page.on(
            "console",
            lambda each: complaints.append(each.text) if each.type in {"error", "warning"} else None,
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        context.add_cookies([{"name": "sessionid", "value": session_of(operator), "url": hub}])
        page.goto("/admin/")
        page.wait_for_selector("#hub-live")
        return page

    yield do
    for context in contexts:
        context.close()

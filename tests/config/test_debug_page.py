"""Django's page of an error, with DJANGO_DEBUG."""

from __future__ import annotations

import pytest
from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter

# The page shows lines of this file too, which must not hold the whole password.
PASSWORD = "hunter" + str(2)


@override_settings(
    DEBUG=True,
    CELERY_BROKER_URL=f"redis://:{PASSWORD}@redis.example/0",
    CACHES={"default": {"BACKEND": "x", "LOCATION": f"redis://u:{PASSWORD}@redis.example"}},
)
def test_it_shows_no_password_of_a_url():
    dsn = f"postgres://hub:{PASSWORD}@db.example/hub"
    with pytest.raises(ValueError, match="wrong") as caught:
        raise ValueError(f"wrong {len(dsn)}")
    reporter = ExceptionReporter(RequestFactory().get("/"), caught.type, caught.value, caught.tb)
    page = reporter.get_traceback_html()
    assert "db.example" in page
    assert f"{PASSWORD}@" not in page

"""Django's page of an error, with DJANGO_DEBUG."""

from __future__ import annotations

import pytest
from django.test import RequestFactory, override_settings
from django.views.debug import ExceptionReporter


@override_settings(
    DEBUG=True,
    CELERY_BROKER_URL="redis://:hunter2@redis.example/0",
    CACHES={"default": {"BACKEND": "x", "LOCATION": "redis://u:hunter2@redis.example"}},
)
def test_it_shows_no_password_of_a_url():
    dsn = "postgres://hub:hunter2@db.example/hub"
    with pytest.raises(ValueError, match="wrong") as caught:
        raise ValueError(f"wrong {len(dsn)}")
    reporter = ExceptionReporter(RequestFactory().get("/"), caught.type, caught.value, caught.tb)
    page = reporter.get_traceback_html()
    assert "db.example" in page
    assert "hunter2@" not in page

"""The admin's pages while the core database is down or hangs."""

import time

import pytest
from django.db import connection

from aggregator.http import outage_pages
from tests.servers import eventually, frozen

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


def test_a_database_that_hangs_gives_an_outage_page_in_time(admin_client, postgres_server):
    assert admin_client.get("/admin/").status_code == 200
    time.sleep(outage_pages.ANSWER_FRESH_S)
    with frozen(postgres_server):
        for _ in range(5):
            began = time.monotonic()
            response = admin_client.get("/admin/")
            assert (response.status_code, response["Retry-After"]) == (503, "5")
            assert b"The core database does not answer" in response.content
            assert time.monotonic() - began < 20
    eventually(lambda: admin_client.get("/admin/").status_code == 200)


def test_a_database_that_is_down_gives_an_outage_page(admin_client, client, postgres_server):
    postgres_server.stop()
    connection.close()
    assert eventually(lambda: admin_client.get("/admin/").status_code == 503)
    assert client.get("/admin/login/").status_code == 200, "the sign-in page needs no database"
    postgres_server.start()
    eventually(lambda: admin_client.get("/admin/").status_code == 200)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/signals/crypto/%00",
        "/api/v1/signals/%00/a/proof",
        "/api/v1/agents/crypto/a%00/record",
        "/record/crypto/a%00",
        "/admin/aggregator/tradingsignal/%00/change/",
    ],
)
def test_an_address_with_a_nul_is_not_found(path, admin_client):
    response = admin_client.get(path)
    assert response.status_code == 404
    assert (response["Content-Type"] == "application/problem+json") == path.startswith("/api/")

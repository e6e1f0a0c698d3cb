"""GET /api/schema/ and /api/docs/, and the committed docs/openapi.yaml"""

import re
from pathlib import Path

import pytest
import yaml
from django.core.management import call_command

from aggregator.http.problems import UNAUTHENTICATED
from aggregator.ingest.hooks import MAX_HOOK_BYTES
from aggregator.ledger.entries import CONFLICT, ECOSYSTEM_FORBIDDEN

COMMITTED = Path(__file__).parents[3] / "docs" / "openapi.yaml"


def test_the_committed_schema_is_that_of_the_code(tmp_path):
    drawn = tmp_path / "openapi.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(drawn))
    assert drawn.read_text() == COMMITTED.read_text(), (
        "draw it anew: manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml"
    )


def test_it_is_served_and_holds_what_customers_and_producers_call_and_no_more(client):
    served = yaml.safe_load(client.get("/api/schema/").content)
    assert served["paths"] == yaml.safe_load(COMMITTED.read_text())["paths"]
    producers = ["/api/hooks/{token}", "/api/signals"]
    assert [path for path in served["paths"] if not path.startswith("/api/v1/")] == producers


def test_other_methods_are_answered_with_those_that_are_allowed(client):
    for path in ("/api/schema/", "/api/docs/"):
        response = client.post(path)
        assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")
        assert "GET" in response["Allow"]
        assert "POST" not in response["Allow"]


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
def test_a_format_that_there_is_not_is_not_found(client, path):
    response = client.get(path, {"format": "xml"})
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_every_answer_that_is_no_success_is_a_problem():
    paths = yaml.safe_load(COMMITTED.read_text())["paths"]
    for path, methods in paths.items():
        for method in methods.values():
            for status, answer in method["responses"].items():
                if int(status) >= 400:
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_the_examples_of_the_ways_in_are_what_these_answer():
    paths = yaml.safe_load(COMMITTED.read_text())["paths"]

    def example(path, status):
        answer = paths[path]["post"]["responses"][str(status)]["content"]["application/problem+json"]
        [shown] = answer["examples"].values()
        return shown["value"]["code"], shown["value"]["detail"].rstrip(".").lower()

    for status, refusal in ((403, ECOSYSTEM_FORBIDDEN), (409, CONFLICT)):
        assert example("/api/signals", status) == (refusal.code, refusal.detail.lower())
    assert example("/api/signals", 401)[1] == UNAUTHENTICATED.rstrip(".").lower()
    assert str(MAX_HOOK_BYTES) in example("/api/hooks/{token}", 413)[1]
    assert f"at most {MAX_HOOK_BYTES} bytes" in paths["/api/hooks/{token}"]["post"]["description"]


@pytest.mark.django_db
def test_the_page_and_all_that_it_loads_come_from_the_hub(client):
    page = client.get("/api/docs/").content.decode()
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(loaded) >= 4
    for address in loaded:
        assert address.startswith("/"), address
        response = client.get(address)
        assert response.status_code == 200, address
    assert not re.search(r"https?://(?!www\.w3\.org)", page)


def test_the_page_takes_no_other_method(client):
    answer = client.options("/api/docs/")
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
    assert client.head("/api/docs/").status_code == 200

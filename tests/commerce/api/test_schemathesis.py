"""The API by its schema: whatever is sent, no 5xx, and no answer that is not documented."""

import pytest
import schemathesis
from django.conf import settings as django_settings
from django.utils import timezone
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks

from aggregator.http import api_keys
from aggregator.models import ApiKey
from commerce import entitlements
from commerce.feed import cursors
from commerce.models import Subscription
from commerce.webhooks import endpoints
from tests.aggregator.sources.made import made
from tests.aggregator.track_record.recording import score
from tests.commerce.api.test_schema import COMMITTED
from tests.commerce.feed.reading import customer, grant, record
from tests.servers import eventually

pytestmark = pytest.mark.django_db(transaction=True)
load_all_checks()

# A cursor of the right form may have a wrong checksum, and an unknown id is a 404.
NOT_OURS = [CHECKS.get_one("positive_data_acceptance")]
# A key is refused before anything else is looked at.
NOT_THEN = [*NOT_OURS, CHECKS.get_one("negative_data_rejection")]

committed = schemathesis.openapi.from_path(COMMITTED)
hooks = committed.include(path="/api/hooks/{token}")
schema = committed.include(path_regex="^/api/v1/")


@pytest.fixture(scope="module")
def url(shared_hub):
    # The tries without a key would else be too many for an address.
    return shared_hub(CORE_WEBHOOK_FAILED_RATE="100000/minute")


@pytest.fixture(autouse=True)
def ledger(log, seal):
    record("a", "b", raw_payload={"x": [1]}, tags=["t"], confidence=0.5, entry_price=1)
    record("eur", ecosystem="forex", symbol="EURUSD", agent_source="")
    score()
    seal()


@pytest.fixture
def key():
    return grant(payload=True, webhooks=100).value


def bearer(value):
    return {"Authorization": f"Bearer {value}"}


# pytest 9.2 builds ids without the operation, unless the test has a parameter of its own.
@pytest.mark.parametrize("timeout", [60])
@schema.parametrize()
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_no_answer_is_undocumented(case, url, key, timeout):
    case.call_and_validate(base_url=url, headers=bearer(key), excluded_checks=NOT_OURS, timeout=timeout)


@pytest.fixture
def token():
    _, path = made(preset="unified", ecosystem="crypto", rate="100000/minute")
    return path.rpartition("/")[2]


@hooks.parametrize()
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
def test_nor_one_of_a_hook(case, url, token):
    case.path_parameters["token"] = token
    case.call_and_validate(base_url=url, excluded_checks=NOT_THEN, timeout=60)


def test_a_hook_takes_each_example_by_the_preset_that_it_is_named_after(url):
    operation = hooks["/api/hooks/{token}"]["POST"]
    for media_type, content in operation.definition.raw["requestBody"]["content"].items():
        [example] = content["examples"].values()
        _, path = made(media_type.partition("/")[2], example["summary"])
        case = operation.Case(
            path_parameters={"token": path.rpartition("/")[2]}, body=example["value"], media_type=media_type
        )

        def answer(case=case):
            found = case.call_and_validate(base_url=url, excluded_checks=NOT_THEN, timeout=60)
            return found.status_code != 503 and found.status_code  # what takes longer than a second

        assert eventually(answer) in {202, 200}
        assert eventually(answer) == 200


def cases(endpoint_id):
    """A case of each operation, about what is there; the one that deletes comes last."""
    names = {"endpoint_id": endpoint_id, "ecosystem": "crypto", "signal_id": "a", "agent": "bot-1"}
    bodies = {
        "create_webhook": {"url": "https://192.0.46.9/another"},
        "rotate_webhook_secret": {"overlap_hours": 1},
        "replay_webhook": {"after": cursors.encode(0)},
    }
    for operation in sorted(
        (found.ok() for found in schema.get_all_operations()), key=lambda found: found.method == "delete"
    ):
        wanted = {parameter.name for parameter in operation.path_parameters}
        name = operation.definition.raw["operationId"]
        extra = {"body": bodies[name], "media_type": "application/json"} if name in bodies else {}
        yield operation.Case(path_parameters={name: names[name] for name in wanted}, **extra)


def test_nor_one_about_what_is_there(url):
    owner = customer(payload=True, webhooks=2)
    key = owner.issue_key("laptop").value
    rights = entitlements.entitlement(Subscription.objects.entitling(timezone.now()).get())
    endpoint, _ = endpoints.create(rights, "webhook", "https://192.0.46.9/hook", after=0)
    seen = {}
    for case in cases(endpoint.public_id):
        response = case.call_and_validate(
            base_url=url, headers=bearer(key), excluded_checks=NOT_THEN, timeout=60
        )
        seen.setdefault(response.status_code, []).append(case.operation.path)
    assert set(seen) == {200, 201, 202, 204, 421}
    assert seen[421] == ["/api/v1/stream"]


def test_nor_one_to_who_may_not(url):
    used_up, without = grant(requests_per_day=0), customer()
    without.subscriptions.update(state="expired")
    agent = api_keys.auth_manager(django_settings.ENVIRONMENT).issue(
        ApiKey(key_id="agent", scopes=["publish"])
    )
    seen = set()
    for value in (used_up.value, without.issue_key("k").value, agent.value, "shk_nobody"):
        for case in cases("we_none"):
            response = case.call_and_validate(
                base_url=url, headers=bearer(value), excluded_checks=NOT_THEN, timeout=60
            )
            seen.add(response.status_code)
    assert {401, 403, 404, 429} <= seen

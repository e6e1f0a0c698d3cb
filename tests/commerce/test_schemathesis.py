"""The API by its schema: whatever is sent, no 5xx, and no answer that is not documented."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import CHECKS, load_all_checks

from tests.commerce.reading import grant, record
from tests.commerce.test_schema import COMMITTED

pytestmark = pytest.mark.django_db(transaction=True)
load_all_checks()

# A cursor of the right form may still be none (its checksum), and an id that nobody has is a 404.
NOT_OURS = [CHECKS.get_one("positive_data_acceptance")]


schema = schemathesis.openapi.from_path(COMMITTED)


@pytest.fixture
def url(live_hub):
    record("a", "b", raw_payload={"x": [1]}, tags=["t"], confidence=0.5, entry_price=1)
    record("eur", ecosystem="forex", symbol="EURUSD", agent_source="")
    # The tries without a key would else be too many for an address.
    return live_hub(CORE_WEBHOOK_FAILED_RATE="100000/minute")


@pytest.fixture
def key():
    return grant(payload=True, webhooks=100).value


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_answer_is_undocumented(case, url, key):
    headers = {"Authorization": f"Bearer {key}"}
    case.call_and_validate(base_url=url, headers=headers, excluded_checks=NOT_OURS)

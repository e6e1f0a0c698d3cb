import pytest

pytestmark = pytest.mark.django_db(transaction=True)
PRODUCTION = {
    "DJANGO_DEBUG": "off",
    "DJANGO_SECRET_KEY": "S3cret-of-production_0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEF",
    "DJANGO_ALLOWED_HOSTS": "hub.example",
    "AGG_SIGNAL_ENDPOINT": "https://hub.example/api/signals",
    "CORE_TRUSTED_PROXIES": "127.0.0.1",
    "CORE_EVENT_BUS_BACKEND": "redis",
    "CORE_API_KEYS": "scout:hunter2",
}


def check(run_manage, **variables):
    program = run_manage("check", "--deploy", "--fail-level", "WARNING", **variables)
    return program.wait(), program.text


def test_a_hub_in_production_has_nothing_to_be_warned_of(run_manage):
    status, said = check(run_manage, **PRODUCTION)
    assert status == 0, said
    assert "no issues" in said


def test_what_is_careless_is_found(run_manage):
    status, said = check(run_manage, **PRODUCTION | {"DJANGO_DEBUG": "on", "DJANGO_SECRET_KEY": "short"})
    assert status == 1
    assert "security.W018" in said
    assert "security.W009" in said


def test_a_hub_starts_whatever_the_servers_locale_is(run_manage):
    """Its files are UTF-8 where a file without a name of its encoding would be read as ASCII."""
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, said = check(run_manage, **PRODUCTION, **ascii_only)
    assert status == 0, said
    listed = run_manage("source", "list", **ascii_only)
    assert listed.wait() == 0, listed.text

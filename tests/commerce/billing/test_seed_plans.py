"""manage.py seed_plans"""

from decimal import Decimal

import pytest
from django.core.management import call_command

from commerce.models import Plan

pytestmark = pytest.mark.django_db


def test_it_creates_the_four_plans():
    call_command("seed_plans")
    rows = Plan.objects.values_list(
        "slug", "price", "currency", "interval", "requests_per_day", "signals_per_day", "history_days"
    )
    assert list(rows) == [
        ("free", Decimal("0.00"), "USD", "month", 100, 10, 7),
        ("basic", Decimal("9.99"), "USD", "month", 1_000, 100, 30),
        ("pro", Decimal("29.99"), "USD", "month", 10_000, 1_000, 90),
        ("enterprise", Decimal("99.99"), "USD", "month", None, None, 365),
    ]


def test_it_keeps_the_operators_changes(capsys):
    call_command("seed_plans")
    Plan.objects.filter(slug="pro").update(price=Decimal("49.00"))
    Plan.objects.filter(slug="free").delete()
    capsys.readouterr()
    call_command("seed_plans")
    assert Plan.objects.get(slug="pro").price == Decimal("49.00")
    assert capsys.readouterr().out.splitlines() == ["free: 0.00 USD per month"]


def test_a_missing_database_is_reported_in_one_line(run_manage, free_port):
    program = run_manage("seed_plans", CORE_DB_URL=f"postgres://hub:secret@127.0.0.1:{free_port}/hub")
    assert program.wait() == 1
    [line] = program.text.splitlines()
    assert line.startswith("signal-hub: seed_plans: the database is not available: ")
    assert "secret" not in line

"""`manage.py healthcheck`."""

import re
import socket

import pytest
from django.db import connections

from tests.servers import eventually

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


def lines(program):
    """The status of each check by its name."""
    found = re.findall(r"^(ok|degraded|failed) +(\S+)", program.text, re.M)
    return {name: status for status, name in found}


def test_a_line_for_each_check(run_manage, redis_client):
    def well():
        program = run_manage("healthcheck")
        return program.wait() == 0 and lines(program)

    found = eventually(well, what="all is well, and every check has answered in time")
    assert {"database", "database:forex", "migrations", "redis", "stream:signals"} <= set(found)
    assert set(found.values()) == {"ok"}


def test_one_failure_is_exit_status_1(run_manage, free_port):
    program = run_manage("healthcheck", CORE_REDIS_URL=f"redis://:hidden-password@127.0.0.1:{free_port}/0")
    assert program.wait() == 1
    assert lines(program)["redis"] == "failed"
    assert lines(program)["database"] == "ok"
    assert "hidden-password" not in program.text


def test_a_missing_migration_is_reported_with_its_remedy(run_manage, redis_client):
    with connections["forex"].cursor() as cursor:
        cursor.execute(
            "DELETE FROM django_migrations WHERE id IN (SELECT max(id) FROM django_migrations"
            " WHERE app = 'aggregator') RETURNING app, name, applied"
        )
        row = cursor.fetchone()
    program = run_manage("healthcheck")
    try:
        assert program.wait() == 1
    finally:
        with connections["forex"].cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", row)
    assert f"run manage.py migrate --database forex; missing forex: aggregator.{row[1]}" in program.text


def test_a_database_that_refuses_is_reported_without_its_password(run_manage, free_port):
    url = f"postgres://user:hidden-password@127.0.0.1:{free_port}/hub"
    program = run_manage("healthcheck", CORE_DB_URL=url)
    assert program.wait() == 1
    assert lines(program)["database"] == "failed"
    assert "hidden-password" not in program.text
    assert "Traceback" not in program.text


def test_database_that_never_answers_does_not_hang_the_command(run_manage):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://user:hidden-password@127.0.0.1:{silent.getsockname()[1]}/hub"
        program = run_manage("healthcheck", CORE_DB_URL=url)
        assert program.wait() == 1
    assert lines(program)["database"] == "failed"

"""Shared servers still run Postgres 13, also where the tests run on a later one."""

import re

import pytest

from tests.servers import PROJECT
from tests.test_style import PACKAGES, tracked

LATER = re.compile(
    r"\b(range_agg|range_intersect_agg|\w*multirange|date_bin|string_to_table|trim_array|bit_count|bit_xor"
    r"|unistr|regexp_(count|instr|like|substr)|any_value|array_(sample|shuffle|sort|reverse)|random_normal"
    r"|json_(array|object|scalar|serialize|table|exists|query|value)|uuidv7|casefold)\("
    r"|\bMERGE INTO\b|\bNULLS NOT DISTINCT\b|\bGROUP BY DISTINCT\b",
    re.IGNORECASE,
)
"""Functions and clauses that came with Postgres 14 to 18."""


@pytest.mark.parametrize("package", PACKAGES)
def test_no_statement_needs_a_later_postgres_than_13(package):
    found = {name: LATER.search((PROJECT / name).read_text("utf-8")) for name in tracked(f"{package}/*.py")}
    assert {name: match[0] for name, match in found.items() if match} == {}

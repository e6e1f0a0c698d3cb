"""The list of attacks names tests that exist; `make attacks` runs them."""

from __future__ import annotations

import ast

import pytest

from tests.security.attacks import ATTACKS, Attack
from tests.servers import PROJECT


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda each: each.test.rpartition("::")[2])
def test_each_attack_is_carried_out_by_a_test(attack: Attack):
    file, _, name = attack.test.partition("::")
    tree = ast.parse((PROJECT / "tests" / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_no_attack_stands_twice():
    assert len({attack.test for attack in ATTACKS}) == len(ATTACKS)

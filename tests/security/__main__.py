"""`python -m tests.security`: the tests of the attacks, as pytest takes them."""

from tests.security.attacks import ATTACKS

print(*(f"tests/{attack.test}" for attack in ATTACKS))  # noqa: T201

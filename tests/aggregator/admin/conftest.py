"""A signed-in operator."""

from __future__ import annotations

import pytest
from django.test import Client

# Models are imported inside the fixtures: pytest may load this file before Django has its settings.


@pytest.fixture
def operator(transactional_db):
    from django.contrib.auth.models import User

    return User.objects.create_superuser("olga")


@pytest.fixture
def page(operator):
    """A signed-in client: `page.get(path)`."""
    client = Client(headers={"host": "localhost"})
    client.force_login(operator)
    return client


@pytest.fixture
def stranger(transactional_db):
    """A client of an operator without any permission."""
    from django.contrib.auth.models import User

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_user("sam", is_staff=True))
    return client

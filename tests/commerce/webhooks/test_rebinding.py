"""A name server that changes its answers, between saving, checking and sending, against the whole push."""

from __future__ import annotations

import socket

import pytest

from aggregator.http.problems import Problem
from commerce.models import Attempt, Endpoint, Message
from tests.commerce.webhooks.pushing import customer, dispatch, endpoint, hurry, ids, local, record
from tests.commerce.webhooks.receiver import receiver
from tests.resolving import HERE, Names

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("receivers_here")]

GOOD, INSIDE = "127.0.0.2", "127.0.0.1"


@pytest.fixture
def names(monkeypatch):
    """The system's resolver, which knows `customer.example` by answers that a test puts in order."""
    system, answers = socket.getaddrinfo, Names([GOOD])

    def getaddrinfo(host, port, *arguments, **options):
        if host != "customer.example":
            return system(host, port, *arguments, **options)
        found = [system(address, port, *arguments, **options) for address in answers(host, port)]
        return [entry for entries in found for entry in entries]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


def test_no_socket_is_opened_to_an_address_that_is_refused(names, settings, connects, free_port):
    local(settings, networks=(HERE,))
    with receiver(GOOD, port=free_port) as good, receiver(INSIDE, port=free_port) as inside:
        url = f"http://customer.example:{good.port}/hook"
        names.answers = [[INSIDE]]
        with pytest.raises(Problem, match="public"):
            endpoint(customer(), url)
        assert not Endpoint.objects.exists()

        names.answers = [[GOOD], [INSIDE]]  # good when it is saved, inside when it is sent
        endpoint(customer(), url)
        record("a")
        assert dispatch() == 1
        assert Attempt.objects.get().error == "refused: address_not_public"

        names.answers = [[GOOD], [INSIDE]]  # good when it is checked, inside if it were looked up again
        names.asked.clear()
        hurry()
        assert dispatch() == 1
        assert Message.objects.get().state == "delivered"
        assert names.asked == ["customer.example"]

        names.answers = [[GOOD, INSIDE]]  # both at once
        record("b")
        assert dispatch() == 1

        assert ids(good) == ["a"]
        assert inside.connections == 0
        assert [address for address in connects if address[1] == good.port] == [(GOOD, good.port)]

"""Alert channels, alerts and the policy in the admin."""

import re

import pytest
from django.urls import reverse

from aggregator.alerts import transitions
from aggregator.alerts.rules import Condition, Conditions
from aggregator.models import Alert, AlertChannel, AlertNotification, AlertPolicy
from tests.aggregator.alerts.chat_service import TOKEN

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/admin/aggregator/alertchannel/add/"
LIST = "/admin/aggregator/alertchannel/"


@pytest.fixture
def channel(admin_client, receiver):
    """A channel, created as an operator does it."""
    admin_client.post(ADD, {"name": "chat", "url": receiver.url, "enabled": "on"})
    return AlertChannel.objects.get()


def test_the_url_is_never_shown_again(admin_client, channel):
    pages = [LIST, f"{LIST}{channel.pk}/change/", f"{LIST}{channel.pk}/history/"]
    for page in pages:
        response = admin_client.get(page)
        assert response.status_code == 200
        assert TOKEN not in response.content.decode()
    assert "json://****" in admin_client.get(LIST).content.decode()


def test_a_new_channel_leads_to_its_test_button(admin_client, receiver):
    data = {"name": "chat", "url": receiver.url, "enabled": "on", "_save": "Save"}
    page = admin_client.post(ADD, data, follow=True).content.decode()
    assert "save_and_test" in page


def test_saving_with_an_empty_url_keeps_it(admin_client, channel):
    admin_client.post(f"{LIST}{channel.pk}/change/", {"name": "renamed", "url": "", "enabled": ""})
    again = AlertChannel.objects.get()
    assert (again.name, again.enabled, bytes(again.encrypted_url)) == (
        "renamed",
        False,
        bytes(channel.encrypted_url),
    )


@pytest.mark.parametrize("url", ["", "nonsense", "nonsense://x", "json://one json://two"])
def test_a_url_that_is_not_valid_is_refused_and_not_shown_again(admin_client, url):
    response = admin_client.post(ADD, {"name": "chat", "url": url, "enabled": "on"})
    assert response.status_code == 200
    assert not AlertChannel.objects.exists()
    assert not url or url not in response.content.decode()


def test_the_test_button_sends_a_message_and_reports_it(admin_client, channel, receiver):
    page = admin_client.get(f"{LIST}{channel.pk}/change/").content.decode()
    (button,) = re.findall(r'<button[^>]*name="(\w*save_and_test)"', page)
    data = {"name": "chat", "url": "", "enabled": "on", button: "1"}
    response = admin_client.post(f"{LIST}{channel.pk}/change/", data, follow=True)
    assert "test message sent" in response.content.decode()
    assert receiver.titles == ["Signal Hub: test message"]

    receiver.status = 500
    response = admin_client.post(f"{LIST}{channel.pk}/change/", data, follow=True)
    assert "not sent" in response.content.decode()
    assert TOKEN not in response.content.decode()


def test_the_action_sends_to_each_chosen_channel(admin_client, channel, receiver):
    data = {"action": "send_test", "_selected_action": [channel.pk]}
    admin_client.post(LIST, data)
    assert receiver.titles == ["Signal Hub: test message"]


def test_opening_a_page_sends_nothing(admin_client, channel, receiver):
    admin_client.get(f"{LIST}{channel.pk}/change/?aggregator_alertchannel_save_and_test=1")
    assert receiver.titles == []


def test_users_without_rights_see_nothing(client, channel, django_user_model):
    assert client.get(LIST).status_code == 302
    client.force_login(django_user_model.objects.create_user("staff", is_staff=True))
    assert client.get(LIST).status_code == 403
    data = {"name": "chat", "url": "", "aggregator_alertchannel_save_and_test": "1"}
    assert client.post(f"{LIST}{channel.pk}/change/", data).status_code == 403


def test_alerts_and_notifications_are_read_only(admin_client, channel):
    AlertPolicy.current()
    transitions.record_conditions(
        Conditions([Condition("agent_silent", "crypto/bot-1", "No signal for 1 h")])
    )
    for model in (Alert, AlertNotification):
        name = model._meta.model_name
        page = admin_client.get(reverse(f"admin:aggregator_{name}_changelist"))
        assert "agent silent" in page.content.decode().lower()
        one = reverse(f"admin:aggregator_{name}_change", args=[model.objects.get().pk])
        assert admin_client.get(one).status_code == 200
        assert admin_client.post(one, {}).status_code == 403


def test_the_policy_is_one_row_to_change(admin_client):
    page = admin_client.get("/admin/aggregator/alertpolicy/")
    assert page.status_code == 200
    data = {
        "repeat_hours": "2,12",
        "refusal_percent": "50",
        "refusal_count": "5",
        "stream_lag": "100",
        "all_clear_at": "06:30",
    }
    assert admin_client.post("/admin/aggregator/alertpolicy/1/change/", data).status_code == 302
    policy = AlertPolicy.objects.get()
    assert (policy.repeat_hours, policy.stream_lag) == ([2, 12], 100)
    assert admin_client.get("/admin/aggregator/alertpolicy/add/").status_code == 403

    for hours in ("0", "1,99999999"):  # the second leads to a year that no page can show
        data["repeat_hours"] = hours
        assert admin_client.post("/admin/aggregator/alertpolicy/1/change/", data).status_code == 200

"""The proof on a signal's page in the admin."""

import pytest
from django.urls import reverse

from aggregator.models import TradingSignal
from tests.aggregator.transparency.log_files import verify

pytestmark = pytest.mark.django_db(transaction=True)


def page(client):
    signal = TradingSignal.objects.get()
    return client.get(reverse("admin:aggregator_tradingsignal_change", args=[signal.pk])).content.decode()


def download(client):
    signal = TradingSignal.objects.get()
    return client.get(reverse("admin:aggregator_tradingsignal_proof", args=[signal.pk]))


def test_a_signals_page_shows_its_leaf_and_gives_the_proof(log, record, seal, admin_client, tmp_path):
    record({"signal_id": "a"})
    assert "No checkpoint covers this signal" in page(admin_client)
    assert download(admin_client).status_code == 404
    seal()
    shown = page(admin_client)
    assert "0, covered by the checkpoint of 1 leaves" in shown
    assert "as it was recorded" in shown
    (tmp_path / "proof").write_bytes(download(admin_client).content)
    assert verify("proof", tmp_path / "proof", "--key", log)[0] == 0


def test_it_shows_that_a_row_was_changed(log, record, seal, admin_client):
    record({"signal_id": "a"})
    seal()
    TradingSignal.objects.update(entry_price=99)
    assert "not what was recorded" in page(admin_client)


def test_only_who_may_see_signals_may_download_a_proof(log, record, seal, client, django_user_model):
    record({"signal_id": "a"})
    seal()
    assert download(client).status_code == 302
    client.force_login(django_user_model.objects.create_user("nobody", is_staff=True))
    assert download(client).status_code == 403

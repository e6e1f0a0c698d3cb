"""The periodic work of commerce, by Celery's beat or manage.py tend_commerce"""

from datetime import timedelta

import pytest
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from commerce.chores import Chores
from commerce.models import Subscription
from tests.commerce.feed.reading import customer

pytestmark = pytest.mark.django_db(transaction=True)


def test_without_celery_a_command_does_all_of_it():
    over = customer().subscriptions
    over.update(ends_at=timezone.now() - timedelta(minutes=1))
    call_command("tend_commerce", "--once")
    assert over.get().state == Subscription.State.EXPIRED


def test_the_command_does_everything_of_commerce_that_beat_does_when_it_is_due():
    chores = Chores()
    of_beat = {entry["task"] for entry in settings.CELERY_BEAT_SCHEDULE.values()}
    of_commerce = {name for name in of_beat if name.startswith("commerce.")}
    assert {chore.name for chore in chores.every} == of_commerce - {"commerce.tasks.deliver_webhooks"}
    chores.every = dict.fromkeys(chores.every, 3600.0)
    assert chores.run_once(wait=True) == 2
    assert chores.run_once(wait=True) == 0

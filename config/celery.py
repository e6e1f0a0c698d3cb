"""The Celery application: `celery -A config worker` and `celery -A config beat`.

A worker runs the stream consumer itself (see `aggregator.worker`); beat triggers the periodic work.
"""

import os

from celery import Celery
from django.conf import settings

from aggregator.alerts.step import WatchStep
from aggregator.worker import StreamConsumerStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("signal_hub")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Not in a receiver of `on_after_configure`: Celery only logs what such a one raises, and the worker would go
# on without its consumers.
app.steps["worker"].update({StreamConsumerStep, WatchStep})


@app.on_after_configure.connect
def require_redis(**_: object) -> None:
    """End a program that would wait for a broker nobody has named."""
    if not settings.ENVIRONMENT.redis_url:
        raise SystemExit("signal-hub: Celery needs CORE_REDIS_URL; or run manage.py consume_databases")

"""The Celery application: `celery -A config worker` and `celery -A config beat`.

A worker runs the stream consumer itself (see `aggregator.worker`); beat triggers the periodic work.
"""

import os

from celery import Celery
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("signal_hub")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_configure.connect
def join_consumers(sender: Celery, **_: object) -> None:
    """Make every worker of this application a consumer of the streams, and a watcher."""
    from aggregator.alerts.step import WatchStep
    from aggregator.worker import StreamConsumerStep

    if not settings.ENVIRONMENT.redis_url:
        raise SystemExit("signal-hub: Celery needs CORE_REDIS_URL; or run manage.py consume_databases")
    sender.steps["worker"].update({StreamConsumerStep, WatchStep})

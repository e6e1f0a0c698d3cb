"""The WSGI application: `granian --interface wsgi config.wsgi:application`, or any other server."""

import os

from django.core.wsgi import get_wsgi_application

from aggregator.postgres.pool import limit_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

from django.conf import settings  # noqa: E402

settings.ENVIRONMENT.announce_bus()
limit_connections()

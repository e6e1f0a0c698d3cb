"""The WSGI application: `granian --interface wsgi config.wsgi:application`, or any other server."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

from django.conf import settings  # noqa: E402

settings.ENVIRONMENT.announce_bus()

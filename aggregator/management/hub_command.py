"""What the hub's own commands have in common."""

from django.core.management.base import BaseCommand


class HubCommand(BaseCommand):
    """A command that starts without Django's checks, which import every page and take as long as all else.

    `manage.py migrate` and `manage.py check` run them.
    """

    requires_system_checks: list[str] = []

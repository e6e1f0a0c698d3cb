from django.apps import AppConfig


class EcosystemsConfig(AppConfig):
    """Gives Django the agents' commands; the rest of the package does without Django."""

    name = "ecosystems"

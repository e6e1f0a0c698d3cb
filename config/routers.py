"""Which tables live where: an ecosystem's own database holds the aggregator's and no others."""

from typing import Any


class EcosystemRouter:
    def allow_migrate(self, db: str, app_label: str, **_hints: Any) -> bool | None:
        """Everything goes to `default`; elsewhere only what agents write to."""
        return None if db == "default" else app_label == "aggregator"

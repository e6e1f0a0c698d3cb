"""Filters that several lists have."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter, TextFilter

from aggregator.models import ECOSYSTEM_CHOICES, TRANSPORT_CHOICES


class ChoiceFilter(DropdownFilter):  # type: ignore[misc] # the package has no types
    """One of the values of the column that has the parameter's name."""

    offered: ClassVar[Sequence[tuple[str, str]]]
    """Values and their labels."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return self.offered

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset


class EcosystemFilter(ChoiceFilter):
    title = parameter_name = "ecosystem"
    offered: ClassVar[Sequence[tuple[str, str]]] = ECOSYSTEM_CHOICES


class TransportFilter(ChoiceFilter):
    title = parameter_name = "transport"
    offered = TRANSPORT_CHOICES


class AgentFilter(TextFilter):  # type: ignore[misc]
    title = "agent (exact name; - for unnamed)"
    parameter_name = "agent"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        name = self.value()
        return queryset.filter(agent_source=agent_name(name)) if name else queryset


def agent_name(text: str) -> str:
    """Return the agent that a URL parameter names: a dash is the unnamed one."""
    return "" if text == "-" else text

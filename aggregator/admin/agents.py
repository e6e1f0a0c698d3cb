"""Agents, and how long each may be silent."""

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from unfold.admin import ModelAdmin

from aggregator.admin.signals import EcosystemFilter
from aggregator.models import Agent
from aggregator.templatetags.hub import ago


@admin.register(Agent)
class AgentAdmin(ModelAdmin):  # type: ignore[misc] # the package has no types
    list_display = ("name", "ecosystem", "seen", "last_transport", "count", "expected_cadence", "sent")
    list_filter = (EcosystemFilter,)
    list_filter_submit = True
    search_fields = ("agent_source",)
    ordering = ("-last_seen",)
    actions = None
    readonly_fields = ("ecosystem", "agent_source", "first_seen", "last_seen", "last_transport", "count")
    fields = (*readonly_fields, "expected_cadence")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False  # an agent is known by what it sends

    @admin.display(description="agent")
    def name(self, agent: Agent) -> str:
        return agent.agent_source or "(unnamed)"

    @admin.display(description="last seen", ordering="last_seen")
    def seen(self, agent: Agent) -> str:
        return ago(agent.last_seen)

    @admin.display(description="signals", ordering="signals")
    def count(self, agent: Agent) -> str:
        return f"{agent.signals:,}"

    @admin.display(description="")
    def sent(self, agent: Agent) -> str:
        query = urlencode({"ecosystem": agent.ecosystem, "agent": agent.agent_source or "-"})
        address = reverse("admin:aggregator_tradingsignal_changelist")
        return format_html('<a class="hub-link" href="{}?{}">Its signals</a>', address, query)

"""The operator's admin: one file a model."""

from django.contrib import admin

from aggregator.admin import dead_letters, signals  # noqa: F401
from aggregator.admin.base import ReadOnlyAdmin
from aggregator.models import Agent, ApiKey, SymbolAlias

for m in (Agent, ApiKey, SymbolAlias):
    admin.site.register(m, ReadOnlyAdmin)

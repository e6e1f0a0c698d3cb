"""The operator's admin: one file a model."""

from django.contrib import admin

from aggregator.admin.base import ReadOnlyAdmin
from aggregator.models import Agent, ApiKey, DeadLetter, SymbolAlias, TradingSignal

for m in (Agent, ApiKey, DeadLetter, SymbolAlias, TradingSignal):
    admin.site.register(m, ReadOnlyAdmin)

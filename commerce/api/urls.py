"""The URLs under `/api/v1/`."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from commerce.api.account import AccountDetail, UsageDetail
from commerce.api.listings import AgentList, InstrumentList
from commerce.api.outcomes import AgentRecordDetail, OutcomeList
from commerce.api.signals import SignalDetail, SignalList, SignalProof, Stream
from commerce.api.webhooks import Webhooks

webhooks = SimpleRouter(trailing_slash=False, use_regex_path=False)
webhooks.register("webhooks", Webhooks, basename="webhook")

app_name = "v1"
urlpatterns = [
    path("signals", SignalList.as_view(), name="signals"),
    path("signals/<str:ecosystem>/<path:signal_id>/proof", SignalProof.as_view(), name="signal-proof"),
    path("signals/<str:ecosystem>/<path:signal_id>", SignalDetail.as_view(), name="signal"),
    path("instruments", InstrumentList.as_view(), name="instruments"),
    path("outcomes", OutcomeList.as_view(), name="outcomes"),
    path("agents/<str:ecosystem>/<path:agent>/record", AgentRecordDetail.as_view(), name="agent-record"),
    path("agents", AgentList.as_view(), name="agents"),
    path("usage", UsageDetail.as_view(), name="usage"),
    path("me", AccountDetail.as_view(), name="me"),
    path("stream", Stream.as_view(), name="stream"),
    *webhooks.urls,
]

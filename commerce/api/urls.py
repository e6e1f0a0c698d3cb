"""The URLs under `/api/v1/`."""

from django.urls import path

from commerce.api.account import AccountDetail, UsageDetail
from commerce.api.listings import AgentList, InstrumentList
from commerce.api.outcomes import AgentRecordDetail, OutcomeList
from commerce.api.signals import SignalDetail, SignalList, SignalProof
from commerce.api.stream import Stream
from commerce.api.webhooks import (
    WebhookDetail,
    WebhookList,
    WebhookMessages,
    WebhookPause,
    WebhookReplay,
    WebhookResume,
    WebhookRotate,
    WebhookTest,
)

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
    path("webhooks", WebhookList.as_view(), name="webhooks"),
    path("webhooks/<slug:endpoint_id>", WebhookDetail.as_view(), name="webhook"),
    path("webhooks/<slug:endpoint_id>/test", WebhookTest.as_view(), name="webhook-test"),
    path("webhooks/<slug:endpoint_id>/rotate", WebhookRotate.as_view(), name="webhook-rotate"),
    path("webhooks/<slug:endpoint_id>/pause", WebhookPause.as_view(), name="webhook-pause"),
    path("webhooks/<slug:endpoint_id>/resume", WebhookResume.as_view(), name="webhook-resume"),
    path("webhooks/<slug:endpoint_id>/replay", WebhookReplay.as_view(), name="webhook-replay"),
    path("webhooks/<slug:endpoint_id>/messages", WebhookMessages.as_view(), name="webhook-messages"),
]

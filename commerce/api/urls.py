"""Where the addresses under `/api/v1/` lead."""

from django.urls import path

from commerce.api.account import Me, Usage
from commerce.api.series import AgentList, InstrumentList
from commerce.api.signals import SignalDetail, SignalList
from commerce.api.stream import Stream

app_name = "v1"
urlpatterns = [
    path("signals", SignalList.as_view(), name="signals"),
    path("signals/<str:ecosystem>/<path:signal_id>", SignalDetail.as_view(), name="signal"),
    path("instruments", InstrumentList.as_view(), name="instruments"),
    path("agents", AgentList.as_view(), name="agents"),
    path("usage", Usage.as_view(), name="usage"),
    path("me", Me.as_view(), name="me"),
    path("stream", Stream.as_view(), name="stream"),
]

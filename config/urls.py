"""Where each address leads."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.generic import RedirectView

from aggregator.doors.webhook import SignalDoor
from aggregator.health import HealthView


def livez(_request: HttpRequest) -> HttpResponse:
    """Tell that the process answers, whatever it depends on."""
    return HttpResponse("ok", content_type="text/plain")


urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin/", admin.site.urls),
    path("api/signals", SignalDoor.as_view(), name="signals"),
    path("health", HealthView.as_view(), name="health"),
    path("livez", livez, name="livez"),
]

handler400 = "aggregator.problems.bad_request"
handler404 = "aggregator.problems.not_found"

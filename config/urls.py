"""Where each address leads."""

from django.contrib import admin
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from aggregator.admin import dashboard
from aggregator.health.livez import alive
from aggregator.health.metrics import MetricsView
from aggregator.health.views import HealthView
from aggregator.ingest.views import HookView, SignalsView
from aggregator.ingest.webhook import SIGNALS_PATH
from aggregator.sources.tokens import HOOKS_PATH
from aggregator.transparency import views as transparency
from commerce.billing.stripe_webhook import StripeWebhook

# Its answer to OPTIONS would be DRF's, which the page's template cannot show.
docs = SpectacularSwaggerSplitView.as_view(
    http_method_names=["get", "head"], template_name_js="aggregator/api_docs.js"
)

admin.autodiscover()

urlpatterns = [
    # First, since Django looks for an address in this order.
    path(SIGNALS_PATH.removeprefix("/"), SignalsView.as_view(), name="signals"),
    path(f"{HOOKS_PATH.removeprefix('/')}<token>", HookView.as_view(), name="hook"),
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/live", admin.site.admin_view(dashboard.live), name="hub-live"),
    path("admin/", admin.site.urls),
    path("api/stripe", StripeWebhook.as_view(), name="stripe"),
    path("api/v1/", include("commerce.api.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", docs, name="docs"),
    path("", include("commerce.pages.urls")),
    # Browsers ask for it on answers that name no icon, such as JSON.
    path("favicon.ico", RedirectView.as_view(url=static("signal_hub/favicon.svg"))),
    path("log/checkpoint", transparency.checkpoint, name="log-checkpoint"),
    path("log/anchors", transparency.anchors, name="log-anchors"),
    path("log/tile/<path:path>", transparency.tile, name="log-tile"),
    path("health", HealthView.as_view(), name="health"),
    path("livez", alive, name="livez"),
    path("metrics", MetricsView.as_view(), name="metrics"),
]

handler400 = "aggregator.http.problems.bad_request"
handler404 = "aggregator.http.problems.not_found"
handler500 = "aggregator.http.outage_pages.server_error"

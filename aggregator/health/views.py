"""`GET /health`: the results of the checks, for monitors. For load balancers there is `/livez`."""

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views import View

from aggregator.health.checks import CheckResult, Status, worst
from aggregator.health.runner import check_runner


class HealthView(View):
    """Public: it shows names, statuses and a few words, and runs the checks once a second at most."""

    http_method_names = ["get", "head"]

    def get(self, _request: HttpRequest) -> JsonResponse:
        results = check_runner().results()
        status = worst([result.status for result in results])
        body = {
            "status": status,
            "backend": settings.ENVIRONMENT.bus_backend()[0],
            "checks": {result.name: _public(result) for result in results},
        }
        response = JsonResponse(
            body, status=503 if status is Status.FAILED else 200, headers={"Cache-Control": "no-store"}
        )
        # Django logs each 5xx; the runner has logged what changed, and polls repeat themselves.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response


def _public(result: CheckResult) -> dict[str, str]:
    return {"status": result.status} | ({"detail": result.summary} if result.summary else {})

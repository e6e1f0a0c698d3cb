"""`GET /health`: what the probes say, for monitors. For load balancers there is `/livez`."""

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views import View

from aggregator.health.checks import CheckResult, Status, worst
from aggregator.health.runner import check_runner


class HealthView(View):
    """Anybody may ask: the answer holds names, states, few words, and costs a survey a second at most."""

    http_method_names = ["get", "head"]

    def get(self, _request: HttpRequest) -> JsonResponse:
        outcomes = check_runner().outcomes()
        state = worst([outcome.state for outcome in outcomes])
        body = {
            "status": state,
            "backend": settings.ENVIRONMENT.bus_backend()[0],
            "checks": {outcome.name: _check(outcome) for outcome in outcomes},
        }
        response = JsonResponse(
            body, status=503 if state is Status.FAILED else 200, headers={"Cache-Control": "no-store"}
        )
        # Django logs each 5xx; the survey has logged what changed, and polls repeat themselves.
        response._has_been_logged = True  # type: ignore[attr-defined]
        return response


def _check(outcome: CheckResult) -> dict[str, str]:
    return {"status": outcome.state} | ({"detail": outcome.text} if outcome.text else {})

"""`GET signals/<ecosystem>/<signal_id>/proof`."""

from django.http import HttpResponse
from rest_framework.request import Request

from aggregator.http.problems import Problem
from aggregator.transparency.proofs import signal_proof
from commerce import feed
from commerce.api import serializers
from commerce.api.base import json
from commerce.api.documentation import ALWAYS, documented
from commerce.api.signals import SignalDetail


class SignalProof(SignalDetail):
    @documented(
        serializers.Proof,
        summary="Prove that a signal is in the log",
        description="What shows that a signal is in the transparency log as it was recorded: "
        "`examples/verify_record.py proof` verifies it. It counts as one of the day's signals.",
        operation_id="get_signal_proof",
        problems=(*ALWAYS, 404),
    )
    def get(self, request: Request, ecosystem: str, signal_id: str) -> HttpResponse:
        self.require_signals_left()
        signal = feed.find(self.entitlement.scope, ecosystem, signal_id)
        if signal is None:
            # The id of a signal may end in /proof itself.
            answer: HttpResponse = super().get(request, ecosystem, f"{signal_id}/proof")
            return answer
        proof = signal_proof(signal.position or 0)
        if proof is None:
            raise Problem(404, "not_in_log", "No checkpoint covers this signal yet, or no log is kept.")
        self.count_signals(1)
        return json(proof)

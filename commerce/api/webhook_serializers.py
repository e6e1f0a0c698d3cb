"""Input and responses of the API's webhook endpoints."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from aggregator.http.ssrf import MAX_URL_LENGTH
from commerce.api.serializers import CursorField, limit_field
from commerce.feed.signal_serializer import ECOSYSTEMS, PositionField
from commerce.models import Endpoint, Message
from commerce.webhooks.signing_secrets import visible_address

CHANNELS = Endpoint.Channel.values
STATES = Endpoint.State.values
MESSAGE_STATES = Message.State.values


class EndpointInput(serializers.Serializer[Any]):
    channel = serializers.ChoiceField(
        CHANNELS, default="webhook", help_text="webhook, telegram, discord, slack or email."
    )
    url = serializers.CharField(
        max_length=MAX_URL_LENGTH,
        help_text="An https:// URL; for Telegram `<bot token>/<chat id>`, for Discord and Slack the URL of "
        "an incoming webhook, for email the customer's own address.",
    )
    description = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=255, help_text="Up to 255 characters."
    )
    after = CursorField(
        required=False, help_text="A cursor: signals behind it are sent. Without it, those from now on."
    )
    outcomes = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Whether to send what is decided of calls, too: by default to webhooks, not to chats.",
    )


class RotateInput(serializers.Serializer[Any]):
    overlap_hours = serializers.IntegerField(
        required=False,
        default=24,
        min_value=0,
        max_value=168,
        help_text="0 to 168: how long requests are signed with both secrets.",
    )


class ReplayInput(serializers.Serializer[Any]):
    after = CursorField(help_text="A cursor: everything behind it is sent again.")


class MessageQuery(serializers.Serializer[Any]):
    state = serializers.ChoiceField(
        MESSAGE_STATES, required=False, help_text="waiting, delivered, failed or withheld."
    )
    before = serializers.IntegerField(
        required=False, min_value=1, max_value=2**63 - 1, help_text="`next` of the previous page."
    )
    limit = limit_field("messages", 50)


class EndpointResponse(serializers.Serializer[Any]):
    id = serializers.CharField(source="public_id")
    channel = serializers.ChoiceField(CHANNELS)
    url = serializers.CharField(
        source="label", help_text="Of a webhook, as it was given; of a chat, without its token."
    )
    description = serializers.CharField(allow_blank=True)
    ecosystems = serializers.ListField(
        child=serializers.ChoiceField(ECOSYSTEMS),
        allow_null=True,
        help_text="Those of the key that created it; null where that had no restriction.",
    )
    outcomes = serializers.BooleanField(help_text="Whether it gets what is decided of calls, too.")
    state = serializers.ChoiceField(STATES)
    reason = serializers.CharField(allow_blank=True, help_text="Why it was disabled.")
    failing_since = serializers.DateTimeField(allow_null=True)
    cursor = PositionField(source="cursor.position", help_text="Up to here messages were created.")
    created_at = serializers.DateTimeField()

    def to_representation(self, instance: Endpoint) -> dict[str, Any]:
        special = {"url": visible_address(instance), "ecosystems": instance.ecosystems or None}
        return {**super().to_representation(instance), **special}


class EndpointWithSecret(EndpointResponse):
    secret = serializers.CharField(
        allow_null=True, help_text="Signs requests, by Standard Webhooks; shown this once. Null for chats."
    )


@extend_schema_serializer(many=False)  # a list that is in an object
class EndpointList(serializers.Serializer[Any]):
    webhooks = EndpointResponse(many=True)


class SecretResponse(serializers.Serializer[Any]):
    secret = serializers.CharField()


class AttemptResponse(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    status = serializers.IntegerField(help_text="Of HTTP; 0 where there was no response.")
    error = serializers.CharField(allow_blank=True)
    excerpt = serializers.CharField(allow_blank=True, help_text="How the response began.")
    duration_ms = serializers.IntegerField()


class MessageResponse(serializers.Serializer[Any]):
    message_id = serializers.CharField(help_text="The `webhook-id`.")
    cursor = PositionField(source="position", allow_null=True, help_text="The signal's; null for a test.")
    state = serializers.ChoiceField(MESSAGE_STATES)
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(
        source="next_attempt_at", allow_null=True, help_text="Of the next attempt, while it waits."
    )
    attempts = AttemptResponse(many=True)


class MessagePage(serializers.Serializer[Any]):
    messages = MessageResponse(many=True)
    next = serializers.IntegerField(allow_null=True, help_text="`before` of the next page; null at the end.")

"""What the webhook endpoints of the API take, and (for its documentation) what they give."""

from typing import Any

from rest_framework import serializers

from commerce.api.serializers import ECOSYSTEMS, MAX_PAGE_ENTRIES, CursorField
from commerce.models import Endpoint, Message
from commerce.webhooks.ssrf import MAX_URL

CHANNELS = Endpoint.Channel.values
STATES = Endpoint.State.values
MESSAGE_STATES = Message.State.values


class EndpointInput(serializers.Serializer[Any]):
    channel = serializers.ChoiceField(
        CHANNELS, default="webhook", help_text="webhook, telegram, discord, slack or email."
    )
    url = serializers.CharField(
        max_length=MAX_URL,
        help_text="An https:// URL; for Telegram `<bot token>/<chat id>`, for Discord and Slack the URL of "
        "an incoming webhook, for email the customer's own address.",
    )
    description = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=255, help_text="Up to 255 characters."
    )
    after = CursorField(
        required=False, help_text="A cursor: signals behind it are delivered. Without it, from now on."
    )


class RotateInput(serializers.Serializer[Any]):
    overlap_hours = serializers.IntegerField(
        required=False,
        default=24,
        min_value=0,
        max_value=168,
        help_text="0 to 168: for so long requests are signed with both secrets.",
    )


class ReplayInput(serializers.Serializer[Any]):
    after = CursorField(help_text="A cursor: everything behind it is delivered again.")


class MessageQuery(serializers.Serializer[Any]):
    state = serializers.ChoiceField(
        MESSAGE_STATES, required=False, help_text="waiting, delivered, failed or withheld."
    )
    before = serializers.IntegerField(
        required=False, min_value=1, max_value=2**63 - 1, help_text="The `next` of the page before."
    )
    limit = serializers.IntegerField(
        required=False,
        default=50,
        min_value=1,
        max_value=MAX_PAGE_ENTRIES,
        help_text=f"1 to {MAX_PAGE_ENTRIES} messages.",
    )


class EndpointResponse(serializers.Serializer[Any]):
    id = serializers.CharField()
    channel = serializers.ChoiceField(CHANNELS)
    url = serializers.CharField(help_text="Of a webhook, as it was given; of a chat, without its token.")
    description = serializers.CharField(allow_blank=True)
    ecosystems = serializers.ListField(
        child=serializers.ChoiceField(ECOSYSTEMS),
        allow_null=True,
        help_text="Those of the key that made it; null where that had no restriction.",
    )
    state = serializers.ChoiceField(STATES)
    reason = serializers.CharField(allow_blank=True, help_text="Why it was disabled.")
    failing_since = serializers.DateTimeField(allow_null=True)
    cursor = serializers.CharField(help_text="Up to here messages exist.")
    created_at = serializers.DateTimeField()


class EndpointWithSecret(EndpointResponse):
    secret = serializers.CharField(
        allow_null=True, help_text="Signs requests, by Standard Webhooks; shown this once. Null for chats."
    )


class EndpointList(serializers.Serializer[Any]):
    webhooks = EndpointResponse(many=True)


class SecretResponse(serializers.Serializer[Any]):
    secret = serializers.CharField()


class AttemptResponse(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    status = serializers.IntegerField(help_text="Of HTTP; 0 where there was no answer.")
    error = serializers.CharField(allow_blank=True)
    excerpt = serializers.CharField(allow_blank=True, help_text="How the answer began.")
    duration_ms = serializers.IntegerField()


class MessageResponse(serializers.Serializer[Any]):
    message_id = serializers.CharField(help_text="The `webhook-id`.")
    cursor = serializers.CharField(allow_null=True, help_text="The signal's; null for a test.")
    state = serializers.ChoiceField(MESSAGE_STATES)
    created_at = serializers.DateTimeField()
    due_at = serializers.DateTimeField(allow_null=True, help_text="Of the next attempt, while it waits.")
    attempts = AttemptResponse(many=True)


class MessagePage(serializers.Serializer[Any]):
    messages = MessageResponse(many=True)
    next = serializers.IntegerField(allow_null=True, help_text="The next page's `before`; null at the end.")

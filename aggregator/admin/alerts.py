"""Alerts, channels, notifications and the alert policy in the admin."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.admin import ModelAdmin
from unfold.decorators import action
from unfold.widgets import UnfoldAdminPasswordWidget

from aggregator import encryption
from aggregator.admin.base import ReadOnlyAdmin
from aggregator.alerts import delivery
from aggregator.alerts.messages import Notification
from aggregator.models import Alert, AlertChannel, AlertNotification, AlertPolicy
from ecosystems.env import HIDDEN

MAX_REPEAT_HOURS = 365 * 24
TEST = Notification("info", "Signal Hub: test message", "This channel works. Alerts will arrive here.")


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]
    """A channel with its URL, which is never shown again."""

    url = forms.CharField(
        label="URL",
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        required=False,
        strip=True,
        help_text=(
            "An Apprise URL, such as tgram://token/chat, slack://…, mailto://… or json://host/path; see "
            "github.com/caronc/apprise/wiki. Stored encrypted and not shown again. Leave empty to keep it."
        ),
    )

    class Meta:
        model = AlertChannel
        fields = ("name", "enabled")

    def clean_url(self) -> str:
        import apprise

        url: str = self.cleaned_data["url"]
        if not url and self.instance.pk is None:
            raise forms.ValidationError("Enter a URL.")
        # One service a channel: of two, a failure of one would send to the other again.
        if url and (" " in url or apprise.Apprise.instantiate(url) is None):
            raise forms.ValidationError("Not a valid Apprise URL.")
        return url


@admin.register(AlertChannel)
class AlertChannelAdmin(ModelAdmin):  # type: ignore[misc]
    form = ChannelForm
    list_display = ("name", "address", "enabled", "last_sent_at", "last_error")
    readonly_fields = ("address", "last_sent_at", "last_error")
    actions = ("send_test",)
    actions_submit_line = ("save_and_test",)
    fields = ("name", "address", "url", "enabled", "last_sent_at", "last_error")
    add_fieldsets = ((None, {"fields": ("name", "url", "enabled")}),)

    @admin.display(description="address")
    def address(self, channel: AlertChannel) -> str:
        """Return the URL's service alone: any other part may hold a token."""
        if not channel.encrypted_url:
            return ""
        try:
            url = encryption.decrypt(channel.encrypted_url, delivery.PURPOSE)
        except encryption.DecryptionError as error:
            return str(error)
        return f"{url.partition('://')[0]}://{HIDDEN}"

    def save_model(self, request: HttpRequest, obj: AlertChannel, form: Any, change: bool) -> None:
        if url := form.cleaned_data.get("url"):
            obj.encrypted_url = encryption.encrypt(url, delivery.PURPOSE)
        super().save_model(request, obj, form, change)

    def response_post_save_add(self, request: HttpRequest, obj: AlertChannel) -> HttpResponse:
        """Stay on the new channel's page, which has the test button."""
        return redirect("admin:aggregator_alertchannel_change", obj.pk)

    def response_change(self, request: HttpRequest, obj: AlertChannel) -> HttpResponse:
        """Stay on the channel's page after a test: it shows the last error, and the URL can be corrected."""
        response: HttpResponse = super().response_change(request, obj)
        if any(name.endswith("save_and_test") for name in request.POST):
            return redirect("admin:aggregator_alertchannel_change", obj.pk)
        return response

    @admin.action(description="Send test message", permissions=["change"])
    def send_test(self, request: HttpRequest, queryset: QuerySet[AlertChannel]) -> None:
        for channel in queryset:
            _test(request, channel)

    @action(description="Save and send test message", permissions=["change"])  # type: ignore[untyped-decorator]
    def save_and_test(self, request: HttpRequest, obj: AlertChannel) -> None:
        _test(request, obj)


def _test(request: HttpRequest, channel: AlertChannel) -> None:
    error = delivery.deliver(channel, TEST)
    if error:
        messages.error(request, f"{channel.name}: test message not sent: {error}.")
    else:
        messages.success(request, f"{channel.name}: test message sent.")


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("rule", "subject", "state", "text", "since", "resolved_at", "notifications")
    list_filter = ("rule", ("resolved_at", admin.EmptyFieldListFilter))
    search_fields = ("subject",)
    ordering = ("-since",)
    show_full_result_count = False

    @admin.display(description="state")
    def state(self, alert: Alert) -> str:
        if alert.resolved_at:
            return "resolved"
        return "open" if alert.fired_at else "pending"


@admin.register(AlertNotification)
class AlertNotificationAdmin(ReadOnlyAdmin):
    list_display = ("title", "channel", "created_at", "attempts", "sent_at", "given_up_at")
    list_filter = ("channel",)
    list_select_related = ("channel",)
    ordering = ("-id",)
    show_full_result_count = False


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = AlertPolicy
        fields = "__all__"  # noqa: DJ007 - all that can be edited

    def clean_repeat_hours(self) -> list[int]:
        """Refuse what leads to a year that no page can show."""
        hours: list[int] = self.cleaned_data["repeat_hours"]
        if max(hours) > MAX_REPEAT_HOURS:
            raise forms.ValidationError(f"Enter at most {MAX_REPEAT_HOURS} hours, a year.")
        return hours


@admin.register(AlertPolicy)
class AlertPolicyAdmin(ModelAdmin):  # type: ignore[misc]
    form = PolicyForm
    list_display = (
        "__str__",
        "repeat_hours",
        "refusal_percent",
        "refusal_count",
        "stream_lag",
        "all_clear_at",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return not AlertPolicy.objects.exists()

    def has_delete_permission(self, request: HttpRequest, obj: AlertPolicy | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[AlertPolicy]:
        AlertPolicy.current()  # creates the one row on the first visit
        return super().get_queryset(request)  # type: ignore[no-any-return]

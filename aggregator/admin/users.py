"""Operators, their groups and sign-in attempts, in the theme of the other pages."""

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as PlainGroupAdmin
from django.contrib.auth.admin import UserAdmin as PlainUserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from aggregator.admin.base import ReadOnlyAdmin

for model in (User, Group):
    admin.site.unregister(model)


@admin.register(User)
class UserAdmin(PlainUserAdmin, ModelAdmin):  # type: ignore[misc, type-arg] # the package has no types
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    filter_horizontal = ()  # its two lists do not fit beside the sidebar


@admin.register(Group)
class GroupAdmin(PlainGroupAdmin, ModelAdmin):  # type: ignore[misc]
    filter_horizontal = ()


@admin.register(AccessAttempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Failed attempts that count towards a lockout; deleting them ends it."""

    list_display = ("attempt_time", "ip_address", "username", "failures_since_start", "user_agent")
    search_fields = ("ip_address", "username")

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return bool(request.user.has_perm("axes.delete_accessattempt"))


@admin.register(AccessFailureLog, AccessLog)
class AccessAdmin(ReadOnlyAdmin):
    list_display = ("attempt_time", "ip_address", "username", "user_agent")
    search_fields = ("ip_address", "username")

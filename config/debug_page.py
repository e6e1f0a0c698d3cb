"""What Django's page of an error may show (DJANGO_DEBUG)."""

import re
from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/@]*:[^\s/@]*(?=@)")


class SecretsFilter(SafeExceptionReporterFilter):
    """Hides settings by more names than Django does, and passwords within URLs everywhere."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|URL|LOCATION|DATABASES|CACHES", re.IGNORECASE
    )

    def cleanse_setting(self, key: Any, value: Any) -> Any:
        cleansed = super().cleanse_setting(key, value)
        return PASSWORD_IN_URL.sub("***", str(cleansed)) if isinstance(cleansed, str) else cleansed

    def get_traceback_frame_variables(self, request: HttpRequest, tb_frame: FrameType) -> Any:
        variables = super().get_traceback_frame_variables(request, tb_frame)
        return [(name, self.cleanse_setting(name, value)) for name, value in variables]

"""The editor of a source's mapping, with a preview of what a body would become."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from unfold.widgets import UnfoldAdminTextareaWidget

from aggregator.admin.base import admin_page
from aggregator.admin.source_bodies import find_body, last_bodies
from aggregator.ingest.hooks import MAX_HOOK_BYTES
from aggregator.ingest.source_preview import preview
from aggregator.models import Source
from aggregator.sources.mapping import MAX_MAPPING_LENGTH
from aggregator.sources.presets import presets
from aggregator.sources.registration import InvalidSource, check_mapping

MONOSPACE = {"spellcheck": "false", "autocomplete": "off", "class": "hub-code"}


class MappingForm(forms.Form):
    mapping = forms.CharField(
        required=False,
        max_length=MAX_MAPPING_LENGTH,
        strip=False,
        widget=UnfoldAdminTextareaWidget({**MONOSPACE, "rows": 26}),
    )
    body = forms.CharField(
        required=False,
        max_length=MAX_HOOK_BYTES,
        strip=False,
        widget=UnfoldAdminTextareaWidget({**MONOSPACE, "rows": 9}),
    )

    def clean_mapping(self) -> str:
        mapping = _written(self.cleaned_data["mapping"])
        try:
            check_mapping(mapping)
        except InvalidSource as error:
            raise forms.ValidationError(str(error)) from None
        return mapping


def mapping_page(admin: Any, request: HttpRequest, source: Source) -> HttpResponse:
    """Show the editor; save the mapping that is posted."""
    preset = presets().get(source.preset)
    own = preset.mapping if preset else ""
    may_change = admin.has_change_permission(request, source)
    chosen = find_body(source, request.GET.get("body", ""))
    initial = {"mapping": source.mapping or own, "body": chosen.text if chosen else ""}
    form = MappingForm(request.POST if request.method == "POST" and may_change else None, initial=initial)
    if form.is_valid():
        mapping = form.cleaned_data["mapping"]
        source.mapping = "" if mapping.strip() == own.strip() else mapping
        source.save(update_fields=["mapping"])
        admin.log_change(request, source, "Changed the mapping.")
        messages.success(request, "The mapping is saved. Dead letters can be replayed with it now.")
        return redirect("admin:aggregator_source_change", source.pk)
    return admin_page(
        admin,
        request,
        "admin/hub/source_mapping.html",
        f"Mapping of {source}",
        source=source,
        form=form,
        preset_mapping=own,
        bodies=last_bodies(source),
        chosen=chosen,
        may_change=may_change,
        found=_preview(source, form["mapping"].value(), form["body"].value()),
    )


def preview_page(request: HttpRequest, pk: int, **_: Any) -> HttpResponse:
    """Return the preview of a posted mapping and body, as a part of the editor's page."""
    source = get_object_or_404(Source, pk=pk)
    if request.method != "POST" or not request.user.has_perm("aggregator.view_source"):
        return HttpResponse(status=403)
    found = _preview(source, request.POST.get("mapping", ""), request.POST.get("body", ""))
    return render(request, "admin/hub/source_preview.html", {"found": found})


def _written(mapping: str) -> str:
    """Return a mapping with one kind of line break, empty where it is the preset's own."""
    return mapping.replace("\r\n", "\n") if mapping.strip() else ""


def _preview(source: Source, mapping: str, body: str) -> dict[str, Any]:
    """Return what is wrong with a mapping, or what the body would become by it."""
    source.mapping = _written(mapping)[: MAX_MAPPING_LENGTH + 1]
    try:
        check_mapping(source.mapping)
    except InvalidSource as error:
        return {"error": str(error)}
    if not body.strip():
        return {"is_empty": True}
    encoded = body.encode(errors="replace")[:MAX_HOOK_BYTES]
    return {"previews": preview(source, encoded)}

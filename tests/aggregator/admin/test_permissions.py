"""What staff without rights see, and requests by hand that a page never sends."""

from __future__ import annotations

import pytest
from django.contrib import admin


def test_staff_without_rights_see_no_figures_on_the_dashboard(stranger, page):
    assert "hub-live" in page.get("/admin/").content.decode()
    seen = stranger.get("/admin/")
    assert seen.status_code == 200
    assert "may not see signals" in seen.content.decode()
    assert "hub-live" not in seen.content.decode()
    assert stranger.get("/admin/live").status_code == 403


@pytest.mark.django_db
def test_an_action_on_an_id_that_is_none_is_refused(page):
    request = page.get("/admin/").wsgi_request
    for model, registered in admin.site._registry.items():
        for action in registered.get_actions(request):
            path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            for chosen in ("abc", "1 OR 1=1", "9" * 40, "\x00"):
                answer = page.post(path, {"action": action, "_selected_action": chosen})
                assert answer.status_code == 400, (path, action, chosen)

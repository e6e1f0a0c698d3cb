"""What staff without rights see, and requests by hand that a page never sends."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.urls import reverse


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


@pytest.mark.django_db
def test_a_nul_in_a_parameter_is_no_error(page):
    assert page.get("/admin/").status_code == 200  # loads the pages
    for registered in admin.site._registry.values():
        path = reverse(f"admin:{registered.opts.app_label}_{registered.opts.model_name}_changelist")
        request = page.get(path).wsgi_request
        filters = registered.get_changelist_instance(request).get_filters(request)[0]
        for name in {"q"} | {name for each in filters for name in each.expected_parameters()}:
            answer = page.get(f"{path}?{name}=a%00b")
            assert answer.status_code in {200, 302, 400}, (path, name)
    for name in ("q", "o", "p", "e", "all", "pk", "_to_field", "_changelist_filters"):  # of each list
        for value in ("%00", "a%00b", "%%0000"):
            answer = page.get(f"/admin/commerce/customer/?{name}={value}")
            assert answer.status_code in {200, 302, 400}, (name, value)
    names = {"app_label": "commerce", "model_name": "subscription", "field_name": "customer"}
    assert page.get("/admin/autocomplete/", {**names, "term": "\0"}).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["x", "1.5", "-1", "9" * 30, "a/b"])
def test_the_page_of_an_id_that_is_none_is_not_found(page, number):
    assert page.get("/admin/").status_code == 200  # loads the pages
    for registered in admin.site._registry.values():
        for each in registered.urls:
            if each.name and "object_id" in str(each.pattern):
                path = reverse(f"admin:{each.name}", kwargs={"object_id": number})
                assert page.get(path).status_code == 404, path

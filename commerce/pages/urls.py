"""URLs of the customers' pages."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from commerce.pages import actions, payment, records, views
from commerce.pages.unsubscribe import unsubscribe

app_name = "shop"
urlpatterns = [
    path("plans/", views.plans, name="plans"),
    path("plans/<slug:slug>/subscribe", payment.subscribe, name="subscribe"),
    path("record/", records.index, name="records"),
    path("record/<str:ecosystem>/<path:agent>", records.agent_record, name="record"),
    path("account/", views.account, name="account"),
    path("account/sign-in", views.sign_in, name="sign-in"),
    path("account/sign-in/link", views.send_link, name="send-link"),
    path("account/sign-in/<str:token>", views.sign_in_by_link, name="sign-in-link"),
    path("account/sign-up", views.sign_up, name="sign-up"),
    path("account/sign-out", LogoutView.as_view(next_page="shop:plans"), name="sign-out"),
    path("account/password", views.set_password, name="password"),
    path("account/portal", payment.portal, name="portal"),
    path("account/keys", actions.create_key, name="create-key"),
    path("account/keys/<slug:key_id>/<slug:action>", actions.change_key, name="change-key"),
    path("unsubscribe/<str:token>", unsubscribe, name="unsubscribe"),
    path("account/endpoints", actions.create_endpoint, name="create-endpoint"),
    path(
        "account/endpoints/<slug:endpoint_id>/<slug:action>", actions.change_endpoint, name="change-endpoint"
    ),
]

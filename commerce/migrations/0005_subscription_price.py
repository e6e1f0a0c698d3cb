import django.db.models.deletion
from django.db import migrations, models

# What was sold before prices were kept is taken to cost what its plan costs now. Stripe's trials end with their
# period; a trial given here that ran out brought nothing.
SOLD_BEFORE = """
UPDATE subscriptions SET ends_at = LEAST(COALESCE(grace_until, period_ends_at, cancelled_at, started_at), now())
WHERE state IN ('cancelled', 'expired') AND ends_at IS NULL;

INSERT INTO subscription_prices (subscription_id, plan_id, since, price, currency, "interval", stripe_price_id)
SELECT s.id, s.plan_id,
       CASE WHEN s.state = 'trialing' THEN COALESCE(s.period_ends_at, s.ends_at, now()) ELSE s.started_at END,
       p.price, p.currency, p."interval", ''
FROM subscriptions s JOIN plans p ON p.id = s.plan_id
WHERE s.stripe_subscription_id IS NOT NULL
   OR s.state IN ('active', 'past_due', 'cancelled')
   OR (s.state = 'expired' AND s.ends_at > s.started_at + p.trial_days * interval '1 day');
"""


class Migration(migrations.Migration):
    dependencies = [("commerce", "0004_endpoints_go_alone")]

    operations = [
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.UniqueConstraint(
                condition=models.Q(("stripe_price_id", ""), _negated=True),
                fields=("stripe_price_id",),
                name="plans_stripe_price",
                violation_error_message="Another plan has this price of Stripe's.",
            ),
        ),
        migrations.AlterConstraint(
            model_name="subscription",
            name="subscriptions_one_live",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state__in", ("trialing", "active", "past_due"))),
                fields=("customer",),
                name="subscriptions_one_live",
                violation_error_message="The customer has a live subscription: end that one first.",
            ),
        ),
        migrations.CreateModel(
            name="SubscriptionPrice",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("since", models.DateTimeField(help_text="After a trial: when it ends.")),
                ("price", models.DecimalField(decimal_places=4, max_digits=14)),
                ("currency", models.CharField(max_length=3)),
                (
                    "interval",
                    models.CharField(choices=[("month", "a month"), ("year", "a year")], max_length=5),
                ),
                ("stripe_price_id", models.CharField(blank=True, max_length=255)),
                (
                    "plan",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="+", to="commerce.plan"
                    ),
                ),
                (
                    "subscription",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="prices",
                        to="commerce.subscription",
                    ),
                ),
            ],
            options={
                "db_table": "subscription_prices",
                "ordering": ["subscription", "since", "pk"],
                "indexes": [
                    models.Index(fields=["subscription", "-since"], name="subscription_prices_latest")
                ],
            },
        ),
        migrations.RunSQL(SOLD_BEFORE, migrations.RunSQL.noop),
    ]

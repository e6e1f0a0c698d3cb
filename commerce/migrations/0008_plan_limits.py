"""Plans without trials and delays that no calendar holds."""

import datetime

import django.core.validators
from django.db import migrations, models

LONGEST = datetime.timedelta(days=36_500)


class Migration(migrations.Migration):
    dependencies = [("commerce", "0007_endpoint_outcomes")]

    operations = [
        migrations.RunSQL(
            "UPDATE plans SET trial_days = least(trial_days, 36500), "
            "delay = least(delay, interval '36500 days') "
            "WHERE trial_days > 36500 OR delay > interval '36500 days'",
            migrations.RunSQL.noop,
        ),
        migrations.AlterField(
            model_name="plan",
            name="delay",
            field=models.DurationField(
                default=datetime.timedelta(0),
                help_text="How long signals are withheld after they are recorded.",
                validators=[
                    django.core.validators.MinValueValidator(datetime.timedelta(0)),
                    django.core.validators.MaxValueValidator(LONGEST),
                ],
            ),
        ),
        migrations.AlterField(
            model_name="plan",
            name="trial_days",
            field=models.PositiveIntegerField(
                default=0, validators=[django.core.validators.MaxValueValidator(36_500)]
            ),
        ),
        migrations.RemoveConstraint(model_name="plan", name="plans_delay"),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.CheckConstraint(
                condition=models.Q(delay__range=(datetime.timedelta(0), LONGEST)), name="plans_delay"
            ),
        ),
        migrations.AddConstraint(
            model_name="plan",
            constraint=models.CheckConstraint(
                condition=models.Q(trial_days__lte=36_500), name="plans_trial_days"
            ),
        ),
    ]

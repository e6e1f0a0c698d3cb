import django.utils.timezone
from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [("commerce", "0005_subscription_price")]

    operations = [
        migrations.AddField(
            model_name="streamlease",
            name="taken_at",
            field=models.DateTimeField(db_default=Now(), default=django.utils.timezone.now),
        ),
    ]

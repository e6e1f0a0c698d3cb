"""The tables of commerce."""

import commerce.models.webhooks
import datetime
import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from decimal import Decimal
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('aggregator', '0001_initial'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Customer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('email', models.EmailField(max_length=254, unique=True)),
                ('name', models.CharField(blank=True, max_length=128)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('stripe_customer_id', models.CharField(blank=True, max_length=255, null=True, unique=True)),
                ('user', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='customer', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'customers',
            },
        ),
        migrations.CreateModel(
            name='Endpoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('public_id', models.CharField(default=commerce.models.webhooks.new_endpoint_id, editable=False, max_length=32, unique=True, verbose_name='id')),
                ('channel', models.CharField(choices=[('webhook', 'webhook'), ('telegram', 'Telegram'), ('discord', 'Discord'), ('slack', 'Slack'), ('email', 'e-mail')], default='webhook', max_length=8)),
                ('encrypted_address', models.BinaryField(help_text='It may hold a token.')),
                ('label', models.CharField(help_text='The address without what is secret in it.', max_length=255, verbose_name='address')),
                ('description', models.CharField(blank=True, max_length=255)),
                ('ecosystems', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(choices=[('crypto', 'crypto'), ('forex', 'forex'), ('stock', 'stock')]), blank=True, default=list, help_text='Those of the key that made it. None means all that the plan has.', size=None)),
                ('state', models.CharField(choices=[('active', 'active'), ('paused', 'paused'), ('disabled', 'disabled')], default='active', max_length=8)),
                ('reason', models.TextField(blank=True, help_text='Why it was disabled.')),
                ('state_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('notify', models.BooleanField(default=False, editable=False, help_text='Its owner is yet to be told.')),
                ('generation', models.PositiveIntegerField(default=1, editable=False, help_text='Of the signing secret.')),
                ('previous_until', models.DateTimeField(editable=False, help_text='Until when the secret before signs as well.', null=True)),
                ('position', models.BigIntegerField(editable=False, help_text='Of the ledger: up to here all is planned.')),
                ('failing_since', models.DateTimeField(editable=False, help_text='No success since then.', null=True)),
                ('wake_at', models.DateTimeField(editable=False, help_text='When a message is due.', null=True)),
                ('plan_at', models.DateTimeField(default=django.utils.timezone.now, editable=False, help_text='When to look for new signals.')),
                ('lease', models.UUIDField(editable=False, help_text='Of the worker that serves it now.', null=True)),
                ('leased_until', models.DateTimeField(editable=False, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='endpoints', to='commerce.customer')),
            ],
            options={
                'db_table': 'endpoints',
            },
        ),
        migrations.CreateModel(
            name='Message',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('message_id', models.CharField(help_text='The same for every attempt: receivers deduplicate by it.', max_length=64, verbose_name='message')),
                ('position', models.BigIntegerField(help_text="The signal's; empty for a test.", null=True)),
                ('state', models.CharField(choices=[('waiting', 'waiting'), ('delivered', 'delivered'), ('failed', 'failed'), ('withheld', 'withheld')], default='waiting', max_length=9)),
                ('attempt_count', models.PositiveIntegerField(default=0, verbose_name='attempts')),
                ('due_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('finished_at', models.DateTimeField(null=True)),
                ('endpoint', models.ForeignKey(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, related_name='messages', to='commerce.endpoint')),
                ('signal', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='aggregator.tradingsignal')),
            ],
            options={
                'db_table': 'webhook_messages',
            },
        ),
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField()),
                ('at', models.DateTimeField(default=django.utils.timezone.now)),
                ('status', models.PositiveIntegerField(help_text='Of HTTP; 0 where there was no answer.')),
                ('error', models.TextField(blank=True)),
                ('excerpt', models.TextField(blank=True, help_text='How the answer began.')),
                ('duration_ms', models.PositiveIntegerField()),
                ('message', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='attempts', to='commerce.message')),
            ],
            options={
                'db_table': 'webhook_attempts',
                'ordering': ['id'],
            },
        ),
        migrations.CreateModel(
            name='Plan',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(help_text='Identifies the plan in the API. Do not change it.', unique=True)),
                ('name', models.CharField(max_length=64)),
                ('description', models.TextField(blank=True)),
                ('price', models.DecimalField(decimal_places=2, default=Decimal('0'), max_digits=12, validators=[django.core.validators.MinValueValidator(Decimal('0'))])),
                ('currency', models.CharField(default='USD', max_length=3, validators=[django.core.validators.RegexValidator('\\A[A-Z]{3}\\Z', 'Enter three capital letters.')])),
                ('interval', models.CharField(choices=[('month', 'per month'), ('year', 'per year')], default='month', max_length=5)),
                ('ecosystems', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(choices=[('crypto', 'crypto'), ('forex', 'forex'), ('stock', 'stock')]), blank=True, default=list, help_text='Select none to allow all.', size=None)),
                ('instruments', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('\\A[!-~]{1,64}\\Z', 'Enter 1 to 64 printable ASCII characters without spaces.')]), blank=True, default=list, help_text='Patterns such as BTC/* or EUR/USD: * is any text, ? any character. Empty: all.', size=None)),
                ('delay', models.DurationField(default=datetime.timedelta(0), help_text='How long signals are withheld after they are recorded.', validators=[django.core.validators.MinValueValidator(datetime.timedelta(0))])),
                ('history_days', models.PositiveIntegerField(blank=True, help_text='How many days of signals can be read. Empty: all.', null=True)),
                ('requests_per_day', models.PositiveBigIntegerField(blank=True, help_text='Empty: unlimited.', null=True)),
                ('signals_per_day', models.PositiveBigIntegerField(blank=True, help_text='Empty: unlimited.', null=True)),
                ('streams', models.PositiveIntegerField(default=0, help_text='Live streams open at the same time.')),
                ('webhooks', models.PositiveIntegerField(default=0, help_text='Webhook and chat endpoints.')),
                ('payload', models.BooleanField(default=False, help_text='Include the raw_payload of signals.', verbose_name='raw payload')),
                ('trial_days', models.PositiveIntegerField(default=0)),
                ('is_public', models.BooleanField(default=True, help_text='Listed on the pricing page.', verbose_name='public')),
                ('rank', models.IntegerField(default=0, help_text='Order on the pricing page, lowest first.')),
                ('stripe_price_id', models.CharField(blank=True, max_length=255)),
            ],
            options={
                'db_table': 'plans',
                'ordering': ['rank', 'price', 'slug'],
                'constraints': [models.CheckConstraint(condition=models.Q(('price__gte', 0)), name='plans_price'), models.CheckConstraint(condition=models.Q(('delay__gte', datetime.timedelta(0))), name='plans_delay'), models.UniqueConstraint(condition=models.Q(('stripe_price_id', ''), _negated=True), fields=('stripe_price_id',), name='plans_stripe_price', violation_error_message='Another plan has this Stripe price.')],
            },
        ),
        migrations.CreateModel(
            name='ReaderKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='reader_keys', to='commerce.customer')),
                ('key', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='reader', to='aggregator.apikey')),
            ],
            options={
                'db_table': 'reader_keys',
            },
        ),
        migrations.CreateModel(
            name='StreamSlot',
            fields=[
                ('id', models.UUIDField(primary_key=True, serialize=False)),
                ('process', models.UUIDField()),
                ('acquired_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), default=django.utils.timezone.now)),
                ('renewed_at', models.DateTimeField()),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='stream_slots', to='commerce.customer')),
            ],
            options={
                'db_table': 'stream_slots',
            },
        ),
        migrations.CreateModel(
            name='StripeEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.CharField(max_length=255, unique=True)),
                ('type', models.CharField(max_length=255)),
                ('object_id', models.CharField(blank=True, max_length=255)),
                ('created_at', models.DateTimeField(help_text='When Stripe created it.')),
                ('handled_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('outcome', models.TextField(blank=True, help_text='What it changed.')),
            ],
            options={
                'db_table': 'stripe_events',
                'indexes': [models.Index(fields=['-created_at'], name='stripe_events_created')],
            },
        ),
        migrations.CreateModel(
            name='Subscription',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('trialing', 'trialing'), ('active', 'active'), ('past_due', 'past due'), ('cancelled', 'cancelled'), ('expired', 'expired')], default='active', max_length=9)),
                ('started_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('period_ends_at', models.DateTimeField(blank=True, help_text='The end of the paid period.', null=True)),
                ('ends_at', models.DateTimeField(blank=True, help_text='When access ends. Empty: open-ended.', null=True)),
                ('grace_until', models.DateTimeField(blank=True, help_text='Until when a past due subscription grants access.', null=True)),
                ('cancelled_at', models.DateTimeField(blank=True, null=True)),
                ('stripe_subscription_id', models.CharField(blank=True, max_length=255, null=True, unique=True)),
                ('stripe_event_at', models.DateTimeField(blank=True, editable=False, help_text='The newest Stripe event that was applied.', null=True)),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='subscriptions', to='commerce.customer')),
                ('plan', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='subscriptions', to='commerce.plan')),
            ],
            options={
                'db_table': 'subscriptions',
            },
        ),
        migrations.CreateModel(
            name='SubscriptionPrice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('since', models.DateTimeField(help_text='The end of the trial, if there is one.')),
                ('price', models.DecimalField(decimal_places=4, max_digits=14)),
                ('currency', models.CharField(max_length=3)),
                ('interval', models.CharField(choices=[('month', 'per month'), ('year', 'per year')], max_length=5)),
                ('stripe_price_id', models.CharField(blank=True, max_length=255)),
                ('plan', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='commerce.plan')),
                ('subscription', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prices', to='commerce.subscription')),
            ],
            options={
                'db_table': 'subscription_prices',
                'ordering': ['subscription', 'since', 'pk'],
            },
        ),
        migrations.CreateModel(
            name='UsageDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('requests', models.BigIntegerField(default=0)),
                ('signals', models.BigIntegerField(default=0)),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='usage', to='commerce.customer')),
            ],
            options={
                'db_table': 'usage_days',
            },
        ),
        migrations.AddIndex(
            model_name='endpoint',
            index=models.Index(condition=models.Q(('state', 'active')), fields=['wake_at'], name='endpoints_wake'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(condition=models.Q(('state', 'waiting')), fields=['endpoint', 'due_at'], name='webhook_messages_due'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['endpoint', '-id'], name='webhook_messages_latest'),
        ),
        migrations.AddIndex(
            model_name='message',
            index=models.Index(fields=['created_at'], name='webhook_messages_age'),
        ),
        migrations.AddConstraint(
            model_name='message',
            constraint=models.UniqueConstraint(fields=('endpoint', 'message_id'), name='webhook_messages_key'),
        ),
        migrations.AddIndex(
            model_name='attempt',
            index=models.Index(fields=['-at'], name='webhook_attempts_at'),
        ),
        migrations.AddIndex(
            model_name='streamslot',
            index=models.Index(fields=['process'], name='stream_slots_process'),
        ),
        migrations.AddConstraint(
            model_name='subscription',
            constraint=models.UniqueConstraint(condition=models.Q(('state__in', ('trialing', 'active', 'past_due'))), fields=('customer',), name='subscriptions_one_live', violation_error_message='The customer already has a live subscription. End that one first.'),
        ),
        migrations.AddIndex(
            model_name='subscriptionprice',
            index=models.Index(fields=['subscription', '-since'], name='subscription_prices_latest'),
        ),
        migrations.AddConstraint(
            model_name='usageday',
            constraint=models.UniqueConstraint(fields=('customer', 'day'), name='usage_days_key'),
        ),
    ]

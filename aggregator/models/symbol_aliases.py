"""Symbols whose spelling does not determine the instrument."""

from django.db import models

from aggregator.models.signals import ECOSYSTEM_CHOICES


class SymbolAlias(models.Model):
    """A symbol whose spelling does not determine the instrument: seen so far, or mapped by an operator."""

    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    symbol = models.TextField(help_text="As the agent writes it.")
    instrument = models.TextField(
        blank=True, help_text="Its canonical name, as BTC/USDT or EUR/USD; empty while it is not mapped."
    )
    first_seen = models.DateTimeField(null=True, editable=False)
    last_seen = models.DateTimeField(null=True, editable=False)
    signals = models.BigIntegerField(default=0, editable=False)
    update_from = models.TextField(
        default="",
        db_default="",
        editable=False,
        help_text="The instrument that is being replaced; empty if it is not known.",
    )
    update_cursor = models.TextField(
        default="",
        db_default="",
        editable=False,
        help_text="How far the symbol's signals are updated; empty if all are.",
    )

    class Meta:
        db_table = "symbol_aliases"
        db_table_comment = (
            "Instruments of symbols whose spelling does not determine one, as an operator mapped them"
        )
        verbose_name = "symbol alias"
        verbose_name_plural = "symbol aliases"
        constraints = [models.UniqueConstraint(fields=["ecosystem", "symbol"], name="symbol_aliases_key")]
        indexes = [
            models.Index(fields=["id"], condition=~models.Q(update_cursor=""), name="symbol_aliases_updating")
        ]

    def __str__(self) -> str:
        return f"{self.ecosystem}/{self.symbol}"

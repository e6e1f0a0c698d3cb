"""The ledger: the only code that writes `trading_signals`."""

from aggregator.ledger.entries import Entry, Fate, Result
from aggregator.ledger.errors import Outage
from aggregator.ledger.record import finish, record, validate, write, write_together
from aggregator.ledger.recording import Batch, Validated

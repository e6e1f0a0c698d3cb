"""The feed: the ledger's signals as a reader may see them, a page at a time."""

from commerce.feed.pages import NO_FILTERS, Filters, Page, find, read

__all__ = ["NO_FILTERS", "Filters", "Page", "find", "read"]

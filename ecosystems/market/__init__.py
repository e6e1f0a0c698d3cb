"""Markets: candles and their feeds, trading calendars, symbols."""

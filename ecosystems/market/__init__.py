"""What agents know of markets: candles and where they come from, trading calendars, symbols."""

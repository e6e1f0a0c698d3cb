"""The customers' pages: pricing, sign-in, account."""

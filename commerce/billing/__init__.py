"""Payment by Stripe. Without its keys an operator creates subscriptions; everything else works."""

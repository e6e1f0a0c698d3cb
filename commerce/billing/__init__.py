"""Payment by Stripe. Without its keys subscriptions are given by hand, and all else works."""

"""What customers see in a browser: prices, sign-in, their account."""

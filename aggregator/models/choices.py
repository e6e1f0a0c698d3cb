"""Values that several tables share."""

TRANSPORTS = (("database", "database"), ("redis", "redis"), ("webhook", "webhook"))
ECOSYSTEM_CHOICES = (("crypto", "crypto"), ("forex", "forex"), ("stock", "stock"))

"""Values that several tables share."""

TRANSPORT_CHOICES = (("database", "database"), ("redis", "redis"), ("webhook", "webhook"))
ECOSYSTEM_CHOICES = (("crypto", "crypto"), ("forex", "forex"), ("stock", "stock"))

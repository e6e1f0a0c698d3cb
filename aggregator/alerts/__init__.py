"""Alerts: rules find what is wrong, a turn keeps book of it, notices travel over the operator's channels."""

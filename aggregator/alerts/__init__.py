"""Alerts: rules find conditions, transitions record them, delivery sends notifications to the channels."""

"""Probes: what the hub can find out about itself, one class a question. `survey` asks them all."""

"""The order: priced, placed, settled, changed, cancelled, refunded, imported."""

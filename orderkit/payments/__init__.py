"""Charges and refunds, and the payment providers that are asked for them."""

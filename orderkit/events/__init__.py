"""The outbox: what other parts must hear, written in the transaction that made it true."""

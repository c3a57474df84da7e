"""A payment provider and a carrier to test against: one small server with a store of its own, and failures on demand."""

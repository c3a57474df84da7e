"""What load tests are told on the command line."""

from __future__ import annotations

import argparse


def parsed(parser: argparse.ArgumentParser, **most: int) -> argparse.Namespace:
    """The arguments. Those named are from 1 to so many, because load has an end; exits with 2 for others."""
    chosen = parser.parse_args()
    for name, highest in most.items():
        if not 1 <= getattr(chosen, name) <= highest:
            parser.error(f"--{name} is 1 to {highest}")
    return chosen

"""Where files that are not Python live: bundled inside a wheel, beside the package in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def asset(name: str) -> Path:
    """The directory or file `name` (`"migrations"`), from the wheel's `_bundled` folder, else from the checkout.

    Raises FileNotFoundError when the installation has neither.
    """
    for root in (_PACKAGE / "_bundled", _PACKAGE.parent):
        if (root / name).exists():
            return root / name
    raise FileNotFoundError(f"orderkit was installed without its {name}; install it again from a wheel or an sdist")

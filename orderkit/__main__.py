"""``python -m orderkit`` is the same as ``orderkit``."""

from orderkit.cli.main import main

main()

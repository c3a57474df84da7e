"""``python -m orderkit`` is the same as ``orderkit``."""

from orderkit.cli.main import main

if __name__ == "__main__":  # a worker process started by `serve --workers` imports this module again
    main()

"""orderkit: an order backend. An order goes in, is paid once, is fulfilled in the background."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("orderkit")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

"""What went wrong, told without what was sent; and told to an error tracker, where one is set up.

The tracker speaks the protocol of Sentry (`pip install 'orderkit[sentry]'`) and hears of what the log calls an error, with
the same ids: no bodies, no headers, no addresses of callers, no values of variables. Redaction has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orderkit import __version__
from orderkit.errors import ConfigurationError
from orderkit.observability import context
from orderkit.redaction import HIDDEN, is_secret, redacted
from orderkit.settings import Settings

if TYPE_CHECKING:
    from sentry_sdk.client import BaseClient
    from sentry_sdk.types import Event, Hint

FLUSH_WITHIN_S = 2.0
"""How long a process that ends waits for what it has still to tell."""

_QUOTES_INPUT = ("fastapi", "pydantic", "pydantic_core")
_TAGS = ("request_id", "trace_id", "order_id")
"""What an error can be found by."""

_client: BaseClient | None = None


def configure(settings: Settings, process: str) -> None:
    """Errors of this process, `process`, go where the settings say, if anywhere. Replaces what was set before.

    Raises ConfigurationError without the extra.
    """
    global _client
    if _client is not None:
        _client.close(timeout=FLUSH_WITHIN_S)
        _client = None
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration
    except ImportError:
        raise ConfigurationError(
            "ORDERKIT_SENTRY_DSN needs the SDK of Sentry; run: pip install 'orderkit[sentry]'"
        ) from None
    sentry_sdk.init(
        settings.sentry_dsn.get_secret_value(),
        release=f"orderkit-{__version__}",  # with an @ it would be taken for an address
        environment=settings.env,
        server_name=process,  # else the name of the machine
        before_send=_without_secrets,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        # What is told, the log tells: nothing is taken from requests, queries or other loggers behind its back.
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[AtexitIntegration(callback=lambda _pending, _timeout: None)],
        shutdown_timeout=FLUSH_WITHIN_S,
    )
    _client = sentry_sdk.get_client()


def report(message: str, name: str, error: BaseException | None, facts: Mapping[str, Any]) -> None:
    """Tells the error tracker, if there is one, of a line of the log that says ERROR. `name` is the logger's."""
    if _client is None:
        return
    from sentry_sdk.utils import event_from_exception

    event: Event = {}
    hint: Hint = {}
    if error is not None:
        event, hint = event_from_exception(error, client_options=_client.options)
    ids = {"request_id": context.request_id(), "trace_id": context.trace_id()}
    said = {**context.facts(), **facts} | {one: value for one, value in ids.items() if value}
    event["level"] = "error"
    event["logger"] = name
    event["logentry"] = {"message": message}
    event["tags"] = {one: str(said[one]) for one in _TAGS if one in said}
    event["extra"] = {one: value for one, value in said.items() if one not in _TAGS}
    if trace_id := context.trace_id():
        event["contexts"] = {"trace": {"trace_id": trace_id, "span_id": context.span_id()}}
    _client.capture_event(event, hint)


def without_input(text: str, error: BaseException) -> str:
    """`text`, which quotes `error`. A validation error says the value, which is a whole body; here, its place."""
    told: BaseException | None = error
    while told is not None:
        if type(told).__module__.partition(".")[0] in _QUOTES_INPUT and hasattr(told, "errors"):
            places = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in told.errors())
            text = text.replace(str(told), places)
        told = told.__cause__ or told.__context__
    return text


def _without_secrets(event: Event, hint: Hint) -> Event:
    error = (hint.get("exc_info") or (None, None, None))[1]
    cleaned: Event = _cleaned(event, error)
    return cleaned


def _cleaned(value: Any, error: BaseException | None, name: str = "") -> Any:
    """The same, of texts that may leave the house."""
    if isinstance(value, Mapping):
        return {one: _cleaned(of_it, error, str(one)) for one, of_it in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(one, error) for one in value]
    if not isinstance(value, str):
        return value if value is None or isinstance(value, bool | int | float) else _cleaned(str(value), error, name)
    if is_secret(name):
        return HIDDEN
    return redacted(without_input(value, error) if error is not None else value)

"""The few pages that links in mails lead to: plain HTML that works without a script, and lets nothing else be loaded."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

from orderkit.auth import passwords

_HEADERS = {
    # Referrer-Policy and no-store, which the token in the address needs too, are on every answer.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
}

# Addresses are relative: behind a proxy, /links may lie deeper than here.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

_VERIFY = """<p>Press the button, and this address is known to be yours.</p>
<form method="post" action="verify-email">
<input type="hidden" name="token" value="{token}">
<button>Confirm</button>
</form>"""

_RESET = """{problem}<form method="post" action="reset-password">
<input type="hidden" name="token" value="{token}">
<label for="password">New password</label>
<input type="password" id="password" name="password" autocomplete="new-password" required autofocus
 minlength="{least}" maxlength="{most}" aria-describedby="hint">
<p id="hint" class="hint">{least} to {most} characters. Long beats complicated. Everyone who is logged in to the account
is logged out.</p>
<button>Set password</button>
</form>"""

STYLE = """:root { color-scheme: light dark; --ink: #1c2330; --paper: #f3f5f8; --card: #fff; --soft: #566175;
  --edge: #c4ccd8; --act: #1d5bd6; --on-act: #fff; --bad: #a3201d; --bad-card: #fdeceb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7ebf2; --paper: #11151c; --card: #1a202b; --soft: #a3aec0; --edge: #46526a; --act: #8ab4ff;
    --on-act: #0c1a33; --bad: #ffb3ae; --bad-card: #3a1c1d; }
}
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; }
main { width: min(27rem, 100%); padding: 2rem; background: var(--card); border: 1px solid var(--edge);
  border-radius: .75rem; }
h1 { margin: 0 0 1rem; font-size: 1.4rem; line-height: 1.25; }
p { margin: 0 0 1.25rem; }
p:last-child { margin-bottom: 0; }
label { display: block; margin-bottom: .35rem; font-weight: 600; }
input { width: 100%; padding: .65rem .75rem; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--edge); border-radius: .4rem; }
button { width: 100%; padding: .7rem; font: inherit; font-weight: 600; color: var(--on-act); background: var(--act);
  border: 0; border-radius: .4rem; cursor: pointer; }
:focus-visible { outline: 3px solid var(--act); outline-offset: 2px; }
.hint { margin: .5rem 0 1.25rem; color: var(--soft); font-size: .9rem; }
.problem { padding: .6rem .75rem; color: var(--bad); background: var(--bad-card); border-radius: .4rem; }
"""


def message(title: str, text: str, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    """A page that only says something."""
    return _page(title, f"<p>{escape(text)}</p>", status, headers)


def verify(token: str) -> HTMLResponse:
    """The button that confirms an address. A GET must not: programs that look for malice in mails open links."""
    return _page("Confirm your e-mail address", _VERIFY.format(token=escape(token)))


def reset(token: str, problem: str | None = None) -> HTMLResponse:
    """The form for a new password; `problem` is what was wrong with the one before, which is not shown again."""
    told = "" if problem is None else f'<p class="problem" role="alert">{escape(_sentence(problem))}</p>\n'
    form = _RESET.format(token=escape(token), problem=told, least=passwords.MIN_LENGTH, most=passwords.MAX_LENGTH)
    return _page("Choose a new password", form, 200 if problem is None else 422)


def failure(title: str, status: int, detail: str, headers: dict[str, str]) -> HTMLResponse:
    """The page for what did not work."""
    return message(title, _sentence(detail), status, headers)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _page(title: str, body: str, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(_PAGE.format(title=escape(title), body=body), status, _HEADERS | (headers or {}))

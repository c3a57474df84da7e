"""This machine: the folder that orderkit keeps things in, the disk below it, the development secret, open files."""

from __future__ import annotations

import resource
import shutil
import stat
import tempfile
from pathlib import Path

from orderkit.doctor.findings import Finding, fine, warning, wrong
from orderkit.errors import ConfigurationError
from orderkit.settings import MIN_SECRET_CHARACTERS, Settings

LOW_BYTES, FULL_BYTES = 1024**3, 100 * 1024**2
"""A write-ahead log grows by a gigabyte in an hour of 100 orders a second; below 100 MB the next checkpoint may not fit."""
OPEN_FILES = 2200
"""As many as the API asks to be allowed: a connection is an open file. It takes fewer connections where it may not have them."""


def home(settings: Settings) -> Finding:
    """Whether files can be made in ORDERKIT_HOME, or the folder itself, where there is none yet."""
    folder = settings.home
    there = _nearest(folder)
    remedy = (
        "give the user that runs orderkit the right to write there, or set ORDERKIT_HOME to a folder where it has it"
    )
    if not there.is_dir():
        return wrong("home", f"{there} is no folder", "set ORDERKIT_HOME to a folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return wrong("home", f"no file can be made in {there} ({error.strerror})", remedy)
    if folder.exists() and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return warning("home", f"{folder} can be looked into by others", f"run: chmod 700 {folder}")
    return fine("home", f"{folder}" if folder.exists() else f"{folder}, which is made when it is needed")


def disk(settings: Settings) -> Finding:
    """Room below ORDERKIT_HOME."""
    try:
        free = shutil.disk_usage(_nearest(settings.home)).free
    except OSError as error:
        return wrong("disk", f"cannot be asked ({error.strerror})", "look at the disk that ORDERKIT_HOME is on")
    told = f"{free / 1024**3:,.1f} GiB free"
    if free < FULL_BYTES:
        return wrong(
            "disk", told, "make room on the disk that ORDERKIT_HOME is on, before nothing can be written any more"
        )
    if free < LOW_BYTES:
        return warning("disk", told, "make room on the disk that ORDERKIT_HOME is on")
    return fine("disk", told)


def secret(settings: Settings) -> Finding:
    """What tokens are signed with. Makes no key: that is for the first process that needs one."""
    path = settings.home / "secret_key"
    if settings.secret_key is not None:
        length = len(settings.secret_key.get_secret_value())
        if length < MIN_SECRET_CHARACTERS:
            remedy = "make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
            return warning("secret", f"ORDERKIT_SECRET_KEY has {length} characters", remedy)
        return fine("secret", "set in ORDERKIT_SECRET_KEY")
    if settings.env == "production":
        return wrong("secret", "ORDERKIT_SECRET_KEY is not set", "see settings")
    if not path.exists():
        return fine("secret", f"generated at the first start, into {path}")
    try:
        settings.signing_key  # noqa: B018 - it is read for whether it can be
    except ConfigurationError as error:
        return wrong("secret", error.detail, f"give the user that runs orderkit the right to read {path}, or delete it")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        return warning("secret", f"{path} can be read by others", f"run: chmod 600 {path}")
    return fine("secret", f"generated, in {path}")


def open_files() -> Finding:
    """How many files and connections a process may have open at once."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return fine("open files", "any number")
    told = f"a process may ask for {hard:,}"
    if hard >= OPEN_FILES:
        return fine("open files", told)
    return warning(
        "open files",
        told,
        f"each connection is one: raise it to {OPEN_FILES:,} or more (`ulimit -Hn`, LimitNOFILE of systemd, --ulimit of Docker)",
    )


def _nearest(folder: Path) -> Path:
    """`folder`, or the folder that it would be made in."""
    return next(one for one in (folder, *folder.resolve().parents) if one.exists())

"""Imports what processes of orderkit import; for one that others are forked from, see `tests.processes`.

It opens nothing, starts no thread and makes no id: nothing of that kind may be shared by forks.
"""

from __future__ import annotations

import gc
import io
import sys
from contextlib import redirect_stdout, suppress

from orderkit.cli.main import main

sys.argv = ["orderkit", "version"]
with redirect_stdout(io.StringIO()), suppress(SystemExit):
    main()  # sets how loguru is to begin, which it reads when it is imported

import alembic.command  # noqa: E402, F401
import psycopg  # noqa: E402, F401
import uvicorn.lifespan.on  # noqa: E402
import uvicorn.loops.auto  # noqa: E402
import uvicorn.protocols.http.auto  # noqa: E402
import uvicorn.protocols.websockets.auto  # noqa: E402, F401

import orderkit.app  # noqa: E402
import orderkit.migrating  # noqa: E402
import orderkit.serving  # noqa: E402
import orderkit.simulator.server  # noqa: E402
import orderkit.worker.app  # noqa: E402, F401

gc.collect()
gc.freeze()  # what is imported stays: a collector that looks through it in every fork also makes a copy of all its pages

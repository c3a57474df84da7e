"""A small process that outlives the demo only to tidy up after it: even `kill -9` of the demo leaves nothing behind.

    python -I -S guard.py HOME ALIVE_FD

It leads the process group that all children of the demo are in. Its standard input ends when the demo does. If the demo did
not say goodbye before, the children are stopped and the folder HOME is removed. ALIVE_FD reads end of file once no child
holds the other end any more. Only the standard library, so that it starts in 20 ms.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys

GOODBYE = b"goodbye"
PATIENCE_S = 10.0
"""The children drain on SIGTERM; with nobody left to talk to, they have little to drain."""


def main(home: str, alive: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read().endswith(GOODBYE):
        return
    os.killpg(0, signal.SIGTERM)
    select.select([alive], [], [], PATIENCE_S)
    shutil.rmtree(home, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

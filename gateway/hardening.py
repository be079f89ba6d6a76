"""What every process of the gateway does to itself before it reads a key: it leaves neither its memory nor its TLS
sessions behind.

Each command holds keys or people's details, `reseal` and `publish` no less than `run`, so none is spared.
"""

from __future__ import annotations

import os
import resource
from typing import Final

_KEY_LOG: Final = "SSLKEYLOGFILE"


def harden() -> None:
    leave_no_dump()
    leave_no_session_keys()


def leave_no_dump() -> None:
    """Let a crash write no image of this process: its memory holds people's details and the keys that seal them.

    One byte, not none: a limit of 0 is not asked where the kernel pipes dumps to a program, 1 means "never" there, and
    is too small for a file.
    """
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    least = 1 if most == resource.RLIM_INFINITY else min(1, most)
    resource.setrlimit(resource.RLIMIT_CORE, (least, least))


def leave_no_session_keys() -> None:
    """Let no library write the keys of TLS sessions to a file, with which whoever recorded a session reads it.

    Our own TLS contexts never do; asyncpg's, and `ssl.create_default_context()`, do it for whoever sets the variable.
    """
    os.environ.pop(_KEY_LOG, None)

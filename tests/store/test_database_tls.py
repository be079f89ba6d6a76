"""TLS to PostgreSQL by the DSN: what asks for a verified server is never served in plain text instead.

The embedded server is built without TLS, so it can only play the one that strips it: the downgrade.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.store.engine import Engine, StoreUnavailable
from tests.adapters.pki_kit import Authority


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
async def test_a_server_without_tls_is_refused_and_not_used_in_plain_text(
    database: str, tmp_path: Path, mode: str
) -> None:
    """Whoever strips TLS on the way gets no login: the gateway refuses, and says that the server is not reached."""
    root = f"&sslrootcert={Authority(tmp_path, 'ca').file}" if mode != "require" else ""
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await Engine.open(f"{database}?sslmode={mode}{root}", max_connections=2)
    engine = await Engine.open(f"{database}?sslmode=disable", max_connections=2)  # the control: it is there
    await engine.close()

"""The TLS files of a configuration and the client's side of a mutually authenticated connection."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationInfo


def _is_file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("is no file")
    return path


def _beside_configuration(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    return path if base is None else Path(base) / path


# A file that a configuration names and that must be there. Validated with ``context={"base": directory}``, a relative
# path starts from that directory, as everywhere in the configuration.
KeyFile = Annotated[Path, AfterValidator(_beside_configuration), AfterValidator(_is_file)]


class TlsFiles(BaseModel):
    """PEM files of a mutually authenticated connection. Only ``ca_file`` is trusted, not the machine's store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ca_file: KeyFile
    certificate_file: KeyFile
    private_key_file: KeyFile


def mutual_tls(files: TlsFiles, alpn: Sequence[str] = ()) -> ssl.SSLContext:
    """The client's side of mutual TLS: at least 1.2, the peer's certificate and host name checked."""
    # Not create_default_context(): that one writes session keys to wherever SSLKEYLOGFILE points.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.load_verify_locations(cafile=files.ca_file)
    # Without a password given, OpenSSL would ask for one on the terminal: an encrypted key is a fault instead.
    context.load_cert_chain(files.certificate_file, files.private_key_file, password="")
    return context

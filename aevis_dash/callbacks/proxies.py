"""What a trusted proxy says of a request: whence it came, and whether it was encrypted on the way."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

_ADDRESS = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def is_from(environ: Mapping[str, Any], proxies: Sequence[str]) -> bool:
    """Whether a request comes from one of those numeric addresses."""
    address = environ.get("REMOTE_ADDR", "")
    try:
        return any(ipaddress.ip_address(one) == ipaddress.ip_address(address) for one in proxies)
    except ValueError:  # a socket of the file system has no address
        return False


def address_of(environ: Mapping[str, Any], proxies: Sequence[str]) -> str:
    """The visitor's address. Behind a trusted proxy it is the one that the proxy has seen, which it names last."""
    direct = environ.get("REMOTE_ADDR", "")
    seen = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
    return seen if is_from(environ, proxies) and _ADDRESS.fullmatch(seen) else direct


def is_encrypted(environ: Mapping[str, Any], proxies: Sequence[str]) -> bool:
    """Whether the visitor's browser asked by https, as a trusted proxy says in its header X-Forwarded-Proto."""
    told = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
    return told == "https" if told and is_from(environ, proxies) else environ.get("wsgi.url_scheme") == "https"


def authority_of(environ: Mapping[str, Any], proxies: Sequence[str]) -> str:
    """The name and port by which the visitor's browser asked: the header Host, or the X-Forwarded-Host of a trusted
    proxy."""
    told = environ.get("HTTP_X_FORWARDED_HOST", "").rpartition(",")[2].strip()
    return told if told and is_from(environ, proxies) else environ.get("HTTP_HOST", "")

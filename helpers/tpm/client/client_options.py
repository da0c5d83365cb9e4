"""The options of the device SDK's clients, for a client that speaks HTTPS."""

from __future__ import annotations

import platform
import re
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from requests.utils import get_environ_proxies

from helpers.masking import shown

#: Seconds that one request may take, and how many of them the connection. Source: the Python SDK (30, 10).
TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0

USER_AGENT = f"azure-dps-notebooks-tpm/1 (Python {platform.python_version()}; {platform.system()})"

#: What the SDK's clients take. Those that mean nothing over HTTPS are taken and left alone, so that one set of options
#: does for all clients of a program.
OPTIONS = ("server_verification_cert", "websockets", "cipher", "proxy_options", "sastoken_ttl", "keep_alive")

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
#: ``h``: the proxy looks the host name up, not this machine.
_SCHEMES = {"HTTP": "http", "SOCKS4": "socks4a", "SOCKS5": "socks5h"}


@dataclass(frozen=True)
class ClientOptions:
    """Where and how to connect.

    Attributes:
        host: host name of the provisioning service; the port is always 443.
        trust: what the server's certificate is checked with.
        proxy_url: the proxy of ``proxy_options``, empty without; then that of the environment counts.
        token_seconds: how long the token for the registration is valid.
    """

    host: str
    trust: ssl.SSLContext
    proxy_url: str = field(repr=False)
    token_seconds: int

    @classmethod
    def read(cls, provisioning_host: str, id_scope: str, options: dict[str, Any]) -> ClientOptions:
        """Check what a client was given.

        Raises:
            TypeError: an option that is not known here.
            ValueError: a value that cannot be used.
        """
        for name in options:
            if name not in OPTIONS:
                raise TypeError(f"Unsupported keyword argument {shown(name)}")
        if not isinstance(provisioning_host, str) or not _HOST.fullmatch(provisioning_host):
            raise ValueError(
                f"provisioning_host is {shown(provisioning_host)}; give the bare host name, such as "
                "global.azure-devices-provisioning.net, without https://, port and path."
            )
        if not isinstance(id_scope, str) or not id_scope.strip():
            raise ValueError(f"id_scope is {shown(id_scope)}; give the ID scope of the service, such as 0ne00000A01.")
        seconds = options.get("sastoken_ttl", 3_600)
        if not isinstance(seconds, int) or seconds <= 0:
            raise ValueError(f"sastoken_ttl is {shown(seconds)}; it is a number of seconds above 0.")
        return cls(
            provisioning_host,
            _trust(options.get("server_verification_cert"), options.get("cipher")),
            _proxy_url(options.get("proxy_options")),
            seconds,
        )

    def proxy(self) -> str:
        """The proxy to take, empty for none: the one that was given, else the one that the environment names."""
        if self.proxy_url:
            return self.proxy_url
        found = get_environ_proxies(f"https://{self.host}")
        return str(found.get("https") or found.get("all") or "")


def _trust(certificates: str | None, cipher: str | list[str] | None) -> ssl.SSLContext:
    # built like the SDK's: only what was given is trusted, without it what the machine trusts
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificates:
        try:
            context.load_verify_locations(cadata=certificates)
        except (ssl.SSLError, ValueError, TypeError) as error:
            raise ValueError(
                "server_verification_cert is no certificate in PEM; give the text of the file, from "
                "-----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, not its path."
            ) from error
    else:
        context.load_default_certs()
    if cipher:
        names = ":".join(cipher) if isinstance(cipher, list) else cipher
        try:
            context.set_ciphers(names.upper().replace("_", "-"))
        except (ssl.SSLError, AttributeError, TypeError) as error:
            raise ValueError(f"cipher is {shown(cipher)}; OpenSSL knows no such cipher.") from error
    return context


def _proxy_url(options: Any) -> str:
    if options is None:
        return ""
    if not hasattr(options, "proxy_address"):
        raise TypeError(
            f"proxy_options is of type {type(options).__name__}; give ProxyOptions(...) of azure.iot.device."
        )
    login = ""
    if options.proxy_username:
        login = f"{quote(options.proxy_username, safe='')}:{quote(options.proxy_password or '', safe='')}@"
    return f"{_SCHEMES[options.proxy_type]}://{login}{options.proxy_address}:{options.proxy_port}"

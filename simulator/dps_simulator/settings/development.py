"""The development mode: keys and ports that everybody knows, so that a configuration can be committed and shared.

Whoever reads the documentation can use a simulator in this mode, so only this machine may reach it. Azure has nothing
like it; the emulators of Azure Storage and Event Hubs do.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace

from .hubs import Policy
from .values import SettingsError

#: The key of every policy: base64 of ``NOT-A-SECRET-DEVELOPMENT-KEY-32B``. It is published, and protects nothing.
KEY = "Tk9ULUEtU0VDUkVULURFVkVMT1BNRU5ULUtFWS0zMkI="
#: Ports of the CONNECT proxy and of direct TLS, unless others are set.
PROXY_PORT, TLS_PORT = 10_050, 10_051


def check_reach(bind: str, policies: Sequence[Policy], *, development: bool, allow_remote: bool) -> None:
    """Refuse to let other machines in where the keys are known to everybody.

    Arguments:
        bind: the IP address to listen on.
        policies: the shared access policies of all services.
        development: whether the mode is on.
        allow_remote: whether other machines are to be let in.

    Raises:
        SettingsError: they could get in.
    """
    if not development and all(policy.key != KEY for policy in policies):
        return
    if allow_remote or not ipaddress.ip_address(bind).is_loopback:
        raise SettingsError(
            "development: its keys are published, so no other machine may be let in. "
            "Leave out allow_remote and take 127.0.0.1 for bind, or use keys of your own."
        )


def with_known_key(name: str, policy: Policy) -> Policy:
    """The policy with the key that everybody knows.

    Arguments:
        name: what the settings call it.
        policy: as the settings have it.

    Raises:
        SettingsError: it has a key of its own.
    """
    if policy.key not in ("", KEY):
        raise SettingsError(f"{name}: with development every policy has the published key; leave out the key.")
    return replace(policy, key=KEY)

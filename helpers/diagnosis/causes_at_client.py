"""What may be wrong at the client: what it was given, and the place where it runs."""

from __future__ import annotations

from dps_simulator.rules import DEVICE_ID_RULE, REGISTRATION_ID_RULE

from . import attempts
from .causes import FAILS, FIRST, START, VERIFY, X509_START, Cause

REGISTRATION_ID = Cause(
    "The registration ID, or the name of a group, cannot exist. Blanks and line breaks at its end are not seen.",
    f"Take strip() of what you read from a file or the environment, and use {REGISTRATION_ID_RULE}.",
    f"{FIRST}, step 3",
    fault=attempts.REGISTRATION_ID,
)
DEVICE_ID = Cause(
    "The device ID or module ID is not one that a hub can have. Blanks and line breaks at its end cannot be seen.",
    f"Use the device ID that register() returned; a hub takes {DEVICE_ID_RULE}.",
    f"{VERIFY}, step 3",
    fault=attempts.DEVICE_ID,
)
IN_TOPIC = Cause(
    "The device ID has a # or a + inside. A hub takes both, and MQTT does not: they are wildcards in its topics.",
    "Give the device another ID, in its enrollment; this one can register and connect, but neither send nor receive.",
    f"{VERIFY}, step 3",
    fault=attempts.IN_TOPIC,
)
ID_SCOPE = Cause(
    "The ID scope is not one that can exist: it is empty, or something else stands there or was copied along.",
    "Copy the ID scope of your service again: '0ne…', 11 letters and digits; it is no host name.",
    f"{FAILS}, step 3",
    fault=attempts.ID_SCOPE,
)
HOST = Cause(
    "The host name is not a bare host name: it has https://, a slash, a port, a blank or a line break.",
    "Give the bare host name, such as dps.provisioning_host or the hub that register() returned.",
    f"{FIRST}, step 3",
    r"is not a CONNECT target|bytes after the request head|not an HTTP/1.1 request line",
    fault=attempts.HOST,
)
HUB_CLIENT_AT_DPS = Cause(
    "A client for hubs was given the host of DPS.",
    "Register with DPS first, and connect to the hub that register() returned (registration_state.assigned_hub).",
    f"{VERIFY}, step 3",
    fault=attempts.HOST_OF_DPS,
)
DPS_CLIENT_AT_HUB = Cause(
    "A client for DPS was given the host of a hub.",
    "Give dps.provisioning_host (on Azure global.azure-devices-provisioning.net); DPS then names the hub.",
    f"{START}, step 2",
    fault=attempts.HOST_OF_HUB,
)
NO_OPTIONS = Cause(
    "The client was not told the way to the simulator, and looked for its host in the network, where it is not.",
    "Pass **dps.device_options to the client, as the notebooks do.",
    f"{FIRST}, step 3",
    only_here=True,
    fault=attempts.NO_OPTIONS,
)
OTHER_WAY = Cause(
    "The client was given another proxy than the one that leads to the simulator.",
    "Pass **dps.device_options to the client; after connect(target) in a new kernel, make the client anew.",
    f"{FIRST}, step 3",
    only_here=True,
    fault=attempts.OTHER_WAY,
)
PROXY_KIND = Cause(
    "proxy_options is no ProxyOptions(...), or holds what that does not take; a tuple, a text or a URL is not enough.",
    "Give ProxyOptions(proxy_type='HTTP', proxy_addr='proxy.contoso.com', proxy_port=3128), the address without http://.",
    f"{FIRST}, In practice",
    fault=attempts.PROXY_KIND,
)
PATH_FOR_TEXT = Cause(
    "server_verification_cert is no text in PEM: a path, a DER file or a key was given, or the text is cut off.",
    "Give the text of the file, from -----BEGIN CERTIFICATE----- on: open(path).read(). dps.device_options has it.",
    f"{FIRST}, In practice",
    fault=attempts.PATH_FOR_TEXT,
)
FILES = Cause(
    "The certificate file or the key file that the client was given cannot be used.",
    "Follow the sentence above. CertificateFiles.check() says the same before any client is made.",
    f"{X509_START}, step 2",
    fault=attempts.FILES,
)
DPS_AT_HUB = Cause(
    "A client for enrollments was given the connection string of a hub.",
    "Give that of DPS, of the policy provisioningserviceowner.",
    f"{FIRST}, In practice",
    fault=attempts.DPS_AT_HUB,
)
HUB_AT_DPS = Cause(
    "A client for the registry of a hub was given the connection string of DPS.",
    "Give that of the hub, of the policy iothubowner.",
    f"{FIRST}, In practice",
    fault=attempts.HUB_AT_DPS,
)
#: What the clients with which services are managed may have been given.
TO_SERVICES = (DPS_AT_HUB, HUB_AT_DPS, REGISTRATION_ID, DEVICE_ID)

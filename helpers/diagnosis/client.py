"""How a program uses the clients, and what it gives them: a part of the table of :mod:`helpers.diagnosis.table`.

Texts are those of azure-iot-device 2.14, azure-iot-hub 2.7 and of Python's own modules.
"""

from __future__ import annotations

from . import causes, causes_at_client
from .causes import FAILS, FIRST, START, VERIFY, X509_START, Cause
from .kinds import SIMULATOR, Symptom, symptom

_PRACTICE = f"{FAILS}, In practice"
_DEVICE_STRING = "HostName=…;DeviceId=…;SharedAccessKey=…"
_POLICY_STRING = "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"

#: The event loop, connection strings, options and values.
SYMPTOMS: tuple[Symptom, ...] = (
    symptom(
        "event loop runs already",
        "RuntimeError: asyncio.run() cannot be called from a running event loop",
        "A notebook has an event loop that runs already, and asyncio.run() wants to begin one of its own.",
        "Write 'await main()' in the cell, without asyncio.run(), which is for programs of their own.",
        _PRACTICE,
        classes="RuntimeError",
        text=r"asyncio\.run\(\) cannot be called|event loop is already running|while another loop is running",
    ),
    symptom(
        "event loop missing",
        "RuntimeError: no running event loop, or one of another loop",
        "A client of azure.iot.device.aio was used without an event loop, or in another than it was made in.",
        "Make it and use it in one coroutine, with await; or take the client of azure.iot.device, without aio.",
        _PRACTICE,
        classes="RuntimeError",
        text=r"(?i)no (running|current) event loop|different (event )?loop|event loop is closed",
    ),
    symptom(
        "await forgotten",
        "AttributeError or TypeError: 'coroutine' object …",
        "A method of an asynchronous client was called without await, which only makes a coroutine.",
        "Put await in front of the call: result = await client.register().",
        _PRACTICE,
        classes="AttributeError TypeError",
        text=r"'coroutine' object|coroutine was expected",
    ),
    symptom(
        "await without need",
        "TypeError: object … can't be used in 'await' expression",
        "The client is the synchronous one of azure.iot.device, and what it returns cannot be awaited.",
        "Leave await out, or import the client from azure.iot.device.aio.",
        _PRACTICE,
        classes="TypeError",
        text=r"can't be (used in 'await'|awaited)|a coroutine or an awaitable is required",
    ),
    symptom(
        "await outside of a coroutine",
        "SyntaxError: 'await' outside function",
        "A cell of a notebook takes await as it stands; a program or a function takes it only in 'async def'.",
        "Write async def main(): around it, and in a program asyncio.run(main()) at its end.",
        _PRACTICE,
        classes="SyntaxError",
        text=r"'(await|async with|async for)' outside",
    ),
    symptom(
        "client in a with statement",
        "TypeError: … object does not support the context manager protocol",
        "The clients of azure.iot.device cannot stand in 'with' or 'async with'.",
        "Make the client, and call shutdown() in 'finally'; one for DPS ends with its registration.",
        _PRACTICE,
        classes="TypeError AttributeError",
        text=r"Client' object does not support the (asynchronous )?context manager|AttributeError: __a?enter__",
    ),
    symptom(
        "attribute of the registration",
        "AttributeError or TypeError: 'RegistrationResult' object …",
        "What register() returns holds the hub and the device ID one level deeper, and is no dictionary.",
        "Read result.registration_state.assigned_hub and result.registration_state.device_id.",
        f"{START}, step 3",
        classes="AttributeError TypeError",
        text=r"'RegistrationResult' object (has no attribute|is not subscriptable)",
    ),
    symptom(
        "method of another client",
        "AttributeError: 'ProvisioningDeviceClient' or another client has no attribute …",
        "This client has nothing of that name: one registers with DPS, one talks to a hub, others manage both.",
        "ProvisioningDeviceClient has register(); IoTHubDeviceClient has connect(), send_message() and twins; "
        "DeviceProvisioningClient has enrollment and enrollment_group.",
        f"{VERIFY}, step 3",
        classes="AttributeError",
        text=r"'(Provisioning|IoTHub|DeviceProvisioning)\w*(Client|Manager)' (object )?has no attribute",
    ),
    symptom(
        "arguments of a call",
        "TypeError: missing … required positional argument, or Unsupported keyword argument",
        "The call lacks an argument, or has one that this function does not take; the message names it.",
        "Name every argument: provisioning_host, registration_id, id_scope, symmetric_key for DPS; "
        "hostname, device_id, symmetric_key for a hub; **dps.device_options in both. Make clients with "
        "create_from_...().",
        f"{START}, step 2",
        classes="TypeError",
        text=r"missing \d+ required|(unexpected|Unsupported) keyword argument|takes (from )?\d+ .*but \d+"
        r"|multiple values",
        at_client=[causes_at_client.REGISTRATION_ID, causes_at_client.HOST],
    ),
    symptom(
        "number of an option not usable",
        "ValueError or TypeError about keep_alive, connection_retry_interval or a port",
        "An option of the client takes a number within limits, and was given another value.",
        "Give numbers: keep_alive from 1 to 1740 seconds, connection_retry_interval and sastoken_ttl in "
        "seconds, proxy_port as in dps.device_options.",
        _PRACTICE,
        classes="TypeError ValueError",
        text=r"keep.alive|connection_retry_interval|int\(\) argument must be|for \+: 'float' and 'str'",
    ),
    symptom(
        "pass phrase of another kind",
        "TypeError: password should be a string or callable",
        "The pass phrase is no text, such as a Secret whose reveal() was forgotten.",
        "Give pass_phrase=phrase.reveal(), or files.x509(), which does so.",
        f"{X509_START}, In practice",
        classes="TypeError",
        text=r"password should be a string",
    ),
    symptom(
        "package or name not there",
        "ModuleNotFoundError: No module named …, ImportError: cannot import name …",
        "The package is not installed for this kernel, or the name is misspelt: packages are called "
        "azure-iot-device and so on, modules azure.iot.device.",
        "Run 'make setup' and choose the kernel of .venv; compare the import with the one in the notebook.",
        f"{FIRST}, step 1",
        classes="ImportError",
    ),
    symptom(
        "variable not known",
        "NameError: name … is not defined",
        "The name is misspelt, or the cell that defines it has not run since the kernel was started.",
        "Run the notebook from the top (Run > Run All Above Selected Cell).",
        f"{FIRST}, step 1",
        classes="NameError",
    ),
    symptom(
        "no more files or threads",
        "OSError: Too many open files, or RuntimeError: can't start new thread",
        "This program holds as many connections, files or threads as the system allows: every client has some.",
        "Call shutdown() on clients that are done with, and restart the kernel; 'ulimit -n' shows the limit.",
        f"{VERIFY}, Clean up",
        text=r"(?i)too many open files|can't start new thread",
    ),
    symptom(
        "connection string of a policy",
        "KeyError: 'DeviceId'",
        "The connection string has no DeviceId=…: it is that of a policy such as iothubowner.",
        f"Give a device's own ({_DEVICE_STRING}), and never that of a policy; or register with DPS.",
        f"{VERIFY}, step 3",
        classes="KeyError",
        text=r"KeyError: .*\bDeviceId\b",
    ),
    symptom(
        "connection string of a device",
        "KeyError: 'SharedAccessKeyName', or a 'missing property' of that name",
        "The connection string has no SharedAccessKeyName=…: it is that of a device, which manages nothing.",
        f"Give the one of a shared access policy: {_POLICY_STRING}.",
        f"{FIRST}, In practice",
        classes="KeyError ValueError",
        text=r"(?i)KeyError: '?SharedAccessKey(Name)?\b|missing property: sharedaccesskeyname",
    ),
    symptom(
        "certificate instead of a key",
        "ValueError: Use the .create_from_x509_certificate() method instead",
        "The connection string says x509=true: the device proves itself by a certificate.",
        "Use create_from_x509_certificate(x509=X509(...), hostname=..., device_id=...).",
        f"{X509_START}, step 2",
        text=r"create_from_x509_certificate\(\) method",
    ),
    symptom(
        "no IoT Edge",
        "OSError: IoT Edge environment not configured correctly",
        "create_from_edge_environment() works only in a module that IoT Edge has started.",
        "Elsewhere, use create_from_connection_string(...) with the string of the module.",
        _PRACTICE,
        text=r"IoT Edge environment not configured",
    ),
    symptom(
        "proxy options not usable",
        "AttributeError: … object has no attribute 'proxy_…', or ValueError: Invalid Proxy Type",
        [causes_at_client.PROXY_KIND],
        text=r"no attribute 'proxy_\w+'|Invalid Proxy Type",
    ),
    symptom(
        "trusted certificates not usable",
        "SSLError or TypeError about cadata",
        [causes_at_client.PATH_FOR_TEXT],
        text=r"\bcadata\b",
    ),
    symptom(
        "certificate files of another kind",
        "AttributeError: … object has no attribute 'certificate_file', or TypeError: … valid filesystem path",
        "x509 was given something else than X509(...), or X509(...) something else than paths of files.",
        "Give X509(cert_file=..., key_file=..., pass_phrase=...), made of the paths that save() returned.",
        f"{X509_START}, step 2",
        classes="AttributeError TypeError",
        text=r"no attribute '(certificate_file|key_file|pass_phrase)'|(cert|key)file should be a valid filesystem path",
    ),
    symptom(
        "file may not be read",
        "PermissionError: Permission denied",
        [
            Cause(
                "A file, mostly the private key, belongs to somebody else or may not be read, as when sudo made it.",
                "Look with ls -l; give it to the user that the program runs as (chown), with mode 600 (chmod 600).",
                f"{X509_START}, step 2",
            ),
            Cause(
                "A folder was given where a file belongs; Windows says so in these words.",
                "Give the path of the file itself.",
                f"{X509_START}, step 2",
            ),
        ],
        classes="PermissionError",
    ),
    symptom(
        "folder in the place of a file",
        "IsADirectoryError or NotADirectoryError",
        "A folder was given where a file belongs, or a file where a folder belongs.",
        "Give the path of the file itself, as save() returned it.",
        f"{X509_START}, step 2",
        classes="IsADirectoryError NotADirectoryError",
    ),
    symptom(
        "text in the place of a path",
        "OSError: File name too long, or ValueError: embedded null",
        "The text of a certificate or key, or other contents, was given where the path of its file belongs.",
        "Save it with save(), and give the path.",
        f"{X509_START}, step 2",
        classes="OSError ValueError",
        text=r"(?i)file name too long|embedded null",
    ),
    symptom(
        "key of another kind",
        "TypeError: argument should be a bytes-like object or ASCII string",
        "The key is no text: it is None, or a Secret whose reveal() was forgotten.",
        "Give the text: symmetric_key=key.reveal().",
        f"{START}, step 2",
        classes="TypeError",
        text=r"bytes-like object or ASCII string, not",
    ),
    symptom(
        "secret expected",
        "AttributeError: 'str' object has no attribute 'reveal'",
        "A function of helpers was given the text of a key where it takes a Secret, which no output shows.",
        "Wrap it: Secret(text), from helpers.credentials.",
        f"{START}, step 2",
        text=r"no attribute 'reveal'",
    ),
    symptom(
        "cipher not known",
        "SSLError: No cipher can be selected",
        "The option cipher names none that OpenSSL knows here.",
        "Leave it out; the defaults are good. Else take names of 'openssl ciphers'.",
        _PRACTICE,
        text=r"(?i)no cipher (can be selected|match)",
    ),
    symptom(
        "wildcard in the device ID",
        "ValueError: Publish topic cannot contain wildcards, or Invalid subscription filter",
        [causes_at_client.IN_TOPIC],
        text=r"(?i)cannot contain wildcards|invalid (subscription filter|topic)",
    ),
    symptom(
        "value that is no JSON",
        "TypeError: … is not JSON serializable, or AttributeError: … no attribute '__dict__'",
        "A payload or a property is a value that JSON does not have, such as a set, bytes or a date.",
        "Give dictionaries, lists, texts, numbers and booleans; make texts of all others.",
        f"{START}, step 5",
        classes="AttributeError TypeError",
        text=r"not JSON serializable|no attribute '__dict__'",
    ),
    symptom(
        "payload of a message not usable",
        "TypeError: payload must be a string, bytearray, int, float or None",
        "A message was given a value that cannot be sent as it is, such as a dictionary.",
        "Make JSON of it first: Message(json.dumps(values)).",
        f"{VERIFY}, step 5",
        classes="TypeError",
        text=r"payload must be a string",
    ),
    symptom(
        "two ways to receive",
        "ClientError: Cannot use receive APIs, or Cannot set receive handlers",
        "The client has a handler (on_...) and is asked with receive_...() as well, and does only one of both.",
        "Use handlers everywhere, which is newer; make a new client after you have changed it.",
        f"{VERIFY}, step 3",
        text=r"Cannot (use receive APIs|set receive handlers)",
    ),
    symptom(
        "server certificate outside its dates",
        "'certificate is not yet valid' or 'certificate has expired'",
        [
            Cause(
                "The clock of the device is wrong: without a battery it begins in the past after each start.",
                "Set the clock (NTP) before the first connection, and look with the command date.",
                f"{X509_START}, In practice",
            ),
            Cause(
                "The clock is right, and the certificate of the server, or of an authority above it, is out of date.",
                "Renew it where it is your own (the simulator's or a proxy's); update the certificates of the machine.",
                f"{FIRST}, In practice",
            ),
        ],
        text=r"(?i)certificate is not yet valid|certificate has expired",
    ),
    symptom(
        "host name not usable",
        "InvalidURL or LocationParseError: Failed to parse, or UnicodeError: label too long",
        [causes_at_client.HOST],
        text=r"(?i)failed to parse: |ValueError: Invalid host\b|InvalidURL|LocationParse|invalid url"
        r"|label (empty or )?too long|no host supplied",
    ),
    symptom(
        "server name not in its certificate",
        "'Hostname mismatch' or 'IP address mismatch'",
        "The certificate of the server does not hold the name that the client asked for.",
        "Give the name, and no IP address: dps.provisioning_host, or the hub that register() returned.",
        f"{FIRST}, In practice",
        text=r"(?i)(hostname|IP address) mismatch|doesn't match",
        at_client=[causes_at_client.HOST],
    ),
)

#: A handshake that broke off, without a word about the server's certificate.
HANDSHAKE: tuple[Symptom, ...] = (
    symptom(
        "TLS handshake failed",
        "TlsExchangeAuthError or SSLError, without 'certificate verify failed'",
        [
            Cause(
                "The device does not hold the private key of the certificate that it shows.",
                "Give the key that was made with the certificate.",
                f"{X509_START}, step 2",
                r"does not hold the key",
            ),
            Cause(
                "The client knows no TLS from version 1.2 on, and the service takes none below.",
                "Update Python and OpenSSL, or the firmware of the device.",
                _PRACTICE,
                r"no TLS version|unsupported protocol",
            ),
            Cause(
                "The client does not begin with TLS where TLS is spoken, or goes to another port than it thinks.",
                "Pass **dps.device_options to the client, and give no port.",
                f"{FIRST}, step 3",
                r"not TLS|TLS port|proxy port|proxy request",
            ),
            Cause(
                "The handshake took too long: the network, or the machine, is slow.",
                "Try again, after a pause that grows with each attempt.",
                f"{FAILS}, step 9",
                r"took longer",
            ),
            causes.TRUST,
        ],
        text=r"(?i)TLS|SSL",
        classes="TlsExchangeAuthError SSLError SSLZeroReturnError SSLEOFError",
        asks=SIMULATOR,
    ),
)

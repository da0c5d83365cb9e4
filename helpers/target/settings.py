"""The settings of the azure target as people write them: files in other encodings, strings in each other's place.

No text here repeats a value that may hold a key.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from dotenv.parser import Binding, parse_stream

from helpers.credentials import ConnectionString, CredentialsError, parse_connection_string
from helpers.identifiers import unquoted
from helpers.masking import MaskedError

#: The settings of the azure target that have no default, and where Azure shows them.
REQUIRED: Mapping[str, str] = {
    "PROVISIONING_IDSCOPE": "portal: your Device Provisioning Service > Overview > ID Scope; "
    "or: az iot dps show --name YOUR_DPS --query properties.idScope",
    "PROVISIONING_SERVICE_CONNECTION_STRING": "portal: your Device Provisioning Service > Shared access policies > "
    "provisioningserviceowner; or: az iot dps connection-string show --dps-name YOUR_DPS",
    "IOTHUB_CONNECTION_STRING": "portal: your IoT hub > Shared access policies > iothubowner; "
    "or: az iot hub connection-string show --hub-name YOUR_HUB (several hubs: separate them by spaces)",
}

#: Settings of the azure target that only its management plane needs.
FOR_MANAGEMENT: Mapping[str, str] = {
    "AZURE_SUBSCRIPTION_ID": "portal: your Device Provisioning Service > Overview > Subscription ID; "
    "or: az account show --query id",
    "AZURE_RESOURCE_GROUP": "portal: your Device Provisioning Service > Overview > Resource group; "
    "or: az iot dps show --name YOUR_DPS --query resourcegroup",
}

#: A file of settings is short; a larger one is something else.
SIZE_LIMIT = 1_000_000

#: Byte order marks, the longer ones first: that of UTF-32 begins like that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAVE_AGAIN = "Save it as UTF-8 (in PowerShell: Set-Content -Encoding utf8)."
#: What people put between two connection strings; none of it can stand in one.
_BETWEEN = re.compile(r"[,|]")
#: The domains of the two services, in all clouds of Azure.
DPS_DOMAIN, HUB_DOMAIN = ".azure-devices-provisioning.", ".azure-devices."


class SettingError(MaskedError, ValueError):
    """A setting, or the file with the settings, cannot be used; the text names it and what to do."""


def read_file(file: Path, names: Iterable[str]) -> dict[str, str]:
    """The settings of these names in a file of lines ``NAME=value``; no file is as good as an empty one.

    The file is UTF-8, or UTF-16 as PowerShell writes it. Bytes of another encoding are no matter where they stand in
    comments or in values that nobody asks for.

    Raises:
        SettingError: the file cannot be read, a value that is asked for is of another encoding, or a line names one of
            the settings and does not set it.
    """
    try:
        if not file.is_file():
            # a folder of this name is the virtual environment of many people
            return {}
        with file.open("rb") as opened:
            content = opened.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise SettingError(f"The file {file} cannot be read: {error.strerror or error}.") from None
    if len(content) > SIZE_LIMIT:
        raise SettingError(f"The file {file} has more than {SIZE_LIMIT} bytes; it holds something else than settings.")
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in content:
        raise SettingError(f"The file {file} is not UTF-8: it has zero bytes, as UTF-16 has. {_SAVE_AGAIN}")
    try:
        text = content.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict")
    except UnicodeDecodeError:
        raise SettingError(f"The file {file} begins like {encoding.upper()} and is damaged. {_SAVE_AGAIN}") from None
    lines = list(parse_stream(io.StringIO(text)))
    values = {line.key: line.value for line in lines if not line.error}
    names = [*names]
    found = {name: value for name in names if (value := values.get(name))}
    for line in lines:
        # what stands in the file otherwise is somebody else's
        for name in names:
            if name not in found and _means(line, name):
                raise SettingError(
                    f"Line {line.original.line} of the file {file} names {name} and does not set it. It must read "
                    f"{name}=value: this name in capitals, nothing before it, and an end for every quotation mark."
                )
    for name, value in found.items():
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise SettingError(
                f"The file {file} is not UTF-8: the value of {name} has bytes of another encoding. {_SAVE_AGAIN}"
            )
    return found


def _means(line: Binding, name: str) -> bool:
    """Whether a line was written to set this setting, and does not: NAME: value, set NAME=value, an open quote."""
    if line.key == name and not line.error:
        # NAME= leaves it empty, which is everybody's right; without "=" it is a mistake
        return line.value is None
    # a comment has no key and is no error
    begin = line.key if line.key is not None else line.original.string.partition("=")[0] if line.error else ""
    return re.search(rf"(?<![A-Z0-9_]){name}(?![A-Z0-9_])", begin.upper()) is not None


def cleaned(settings: Mapping[str, object]) -> dict[str, str]:
    """The settings without the blanks and quotation marks around their values, and without those that are empty.

    Raises:
        SettingError: a value is no text.
    """
    for name, value in settings.items():
        if value is not None and not isinstance(value, str):
            raise SettingError(f"{name} is of type {type(value).__name__}; a setting is text.")
    return {name: text for name, value in settings.items() if isinstance(value, str) and (text := unquoted(value))}


def service_connection(settings: Mapping[str, str], setting: str) -> ConnectionString:
    """The connection string of the provisioning service.

    Raises:
        CredentialsError: it cannot be used, or is that of a hub.
    """
    if len(_apart(settings[setting])) > 1:
        raise CredentialsError(f"{setting} has more than one connection string. It takes one: that of DPS itself.")
    found = parse_connection_string(settings[setting], of=setting)
    if HUB_DOMAIN in found.host:
        raise CredentialsError(
            f"{setting} has the connection string of a hub, {found.host}. Give that of DPS, of the policy "
            "provisioningserviceowner; that of the hub belongs into IOTHUB_CONNECTION_STRING."
        )
    return found


def hub_connections(settings: Mapping[str, str], setting: str) -> list[ConnectionString]:
    """The connection strings of one or more hubs, separated by blanks or line breaks.

    Raises:
        CredentialsError: one of them cannot be used, or is that of a provisioning service; something else separates
            them.
    """
    if between := _BETWEEN.search(settings[setting]):
        raise CredentialsError(
            f"{setting} has {between[0]!r} in it. Where it names several hubs, separate their connection strings by "
            "spaces."
        )
    found: list[ConnectionString] = []
    for part in _apart(settings[setting]):
        connection = parse_connection_string(part, of=setting)
        if DPS_DOMAIN in connection.host:
            raise CredentialsError(
                f"{setting} has the connection string of a provisioning service, {connection.host}. Give that of the "
                "hub, of the policy iothubowner; that of DPS belongs into PROVISIONING_SERVICE_CONNECTION_STRING."
            )
        if ".servicebus." in connection.host:
            raise CredentialsError(
                f"{setting} has the connection string of an Event Hub, {connection.host}. Give that of the hub itself, "
                "of the policy iothubowner."
            )
        if connection.host in {each.host for each in found}:
            raise CredentialsError(f"{setting} has two connection strings of {connection.host}. Leave one of them out.")
        found.append(connection)
    return found


def global_host(service: ConnectionString | None = None) -> str:
    """Where devices register in the cloud of a service, else in the public one; others end in ``.cn`` and ``.us``."""
    cloud = service.host.partition(DPS_DOMAIN)[2] if service else ""
    return f"global{DPS_DOMAIN}{cloud or 'net'}"


def _apart(text: str) -> list[str]:
    """The connection strings in a text, at each blank that does not stand beside a semicolon within one of them."""
    joined = re.sub(r"(?i)\s*;\s*(?!['\"]?HostName=|\s)", ";", unquoted(text))
    return [string for part in joined.split() if (string := unquoted(part.strip(";")))]

"""Who tried, and what the client was given: read from the frames that an exception keeps.

The clients say what failed, and not for which device or at which host. An exception holds the calls that it came
through, though, and in them stand the client and what it was made with. So the reason of one device is never told as
that of another one, and what cannot work is told from what was refused.

Only values that name something are read, never keys. The clients are the official ones; what they keep where is known
for azure-iot-device 2.x, azure-core and msrest. Where nothing is found, nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any
from urllib.parse import unquote, urlsplit

from azure.iot.device import X509

from helpers.certificates import files as certificate_files
from helpers.credentials import Secret
from helpers.identifiers import bare_host, device_id_problem, host_problem, id_scope_problem, registration_id_problem
from helpers.target.settings import DPS_DOMAIN, HUB_DOMAIN

#: What a client was given and cannot work, by words that :class:`helpers.diagnosis.causes.Cause` has.
REGISTRATION_ID, DEVICE_ID, ID_SCOPE, HOST = "registrationId", "deviceId", "idScope", "host"
IN_TOPIC, HOST_OF_DPS, HOST_OF_HUB = "inTopic", "hostOfDps", "hostOfHub"
DPS_AT_HUB, HUB_AT_DPS = "dpsAtHub", "hubAtDps"
NO_OPTIONS, OTHER_WAY, PROXY_KIND, PATH_FOR_TEXT = "noOptions", "otherWay", "proxyKind", "pathForText"
FILES = "files"

#: What the settings of a client call as an :class:`Attempt` does.
_KEPT = ("registration_id", "id_scope", "device_id", "module_id", "server_verification_cert", "proxy_options", "x509")
#: Where clients keep their settings.
_PIPELINES = ("_pipeline", "_mqtt_pipeline")
#: What the paths of the two services begin with.
_OF_DPS = frozenset({"enrollments", "enrollmentgroups", "registrations"})
_OF_HUB = frozenset({"devices", "twins", "statistics", "jobs"})
#: What tells one proxy from another.
_OF_PROXY = ("proxy_type", "proxy_address", "proxy_port")
#: Packages whose frames know a URL.
_SENDERS = ("azure.core", "msrest", "requests", "urllib3", "helpers.registry")


@dataclass(frozen=True)
class Attempt:
    """What is known of the attempt that an exception ended. What is not known is ``None``, or empty.

    Attributes:
        registration_id, id_scope, device_id, module_id, host: what the client was given, of whatever type.
        server_verification_cert, proxy_options: two of its options; ``None`` as well where they were not given.
        x509: the paths of its certificate and key, in the SDK's object or whatever was given instead of it.
        is_device: whether it was a client for devices.
        url: what a client of a service asked for.
        operation_id: the operation that a registration has at DPS.
        tracking_ids: what the answer is called where it was made.
        inside: packages of the innermost frame of each exception in the chain, e.g. ``azure.iot.device``.
    """

    registration_id: object = None
    id_scope: object = None
    device_id: object = None
    module_id: object = None
    host: object = None
    server_verification_cert: object = None
    proxy_options: object = None
    x509: object = field(default=None, repr=False)
    is_device: bool = False
    url: str = ""
    operation_id: str = ""
    tracking_ids: frozenset[str] = frozenset()
    inside: frozenset[str] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether anything is known by which others can be told apart."""
        return bool(self.names or self.hosts or self.operation_id or self.tracking_ids)

    @property
    def names(self) -> frozenset[str]:
        """How the simulator may call the device, in small letters."""
        if self.url:
            return frozenset(unquote(part).lower() for part in urlsplit(self.url).path.split("/") if part)
        device = self.registration_id if self.device_id is None else self.device_id
        if not isinstance(device, str):
            return frozenset()
        name = f"{device}/{self.module_id}" if self.module_id else device
        return frozenset([name.lower()])

    @property
    def hosts(self) -> frozenset[str]:
        """How the simulator may call the host, in small letters."""
        given = urlsplit(self.url).hostname if self.url else self.host
        if not isinstance(given, str) or not given:
            return frozenset()
        return frozenset([given.strip().lower().removesuffix("."), bare_host(given)])


def attempt_of(chain: Iterable[BaseException]) -> Attempt:
    """What the frames of an exception and of its causes tell of the attempt.

    Arguments:
        chain: the exception and what it was raised from.
    """
    errors = list(chain)
    frames = [frame for error in errors for frame in _frames(error)]
    found = next((each for each in map(_of_client, frames) if each is not None), None)
    found = found or next((each for each in map(_of_factory, frames) if each is not None), None)
    if found is None:
        url = next((each for each in [*map(_asked_of, errors), *map(_url_in, reversed(frames))] if each), "")
        found = Attempt(url=url)
    inside = frozenset(name for error in errors if (name := _innermost(error)))
    return replace(found, inside=inside)


def faults_of(attempt: Attempt, dps: Any = None) -> Mapping[str, str]:
    """What the client was given that cannot work: words of this module, and a sentence for each.

    Arguments:
        attempt: what is known.
        dps: the target, where there is one; it knows its hosts and the way to them.
    """
    found: dict[str, str] = {}

    def look(word: str, name: str, value: object, problem: str) -> None:
        if value is not None and problem:
            found[word] = f"The {name} that the client was given cannot be one: {problem}."

    look(REGISTRATION_ID, "registration ID", attempt.registration_id, registration_id_problem(attempt.registration_id))
    look(ID_SCOPE, "ID scope", attempt.id_scope, id_scope_problem(attempt.id_scope))
    for part, name in ((attempt.device_id, "device ID"), (attempt.module_id or None, "module ID")):
        look(DEVICE_ID, name, part, device_id_problem(part))
        if DEVICE_ID not in found and isinstance(part, str) and (wrong := [each for each in "+#" if each in part]):
            found[IN_TOPIC] = f"The {name} that the client was given has {' and '.join(map(repr, wrong))} inside."
    look(HOST, "host name", attempt.host, host_problem(attempt.host))
    for word, name, part, problem in _in_url(attempt.url):
        look(word, name, part, problem)
    found.update(_place_faults(attempt, dps))
    if attempt.is_device:
        found.update(_option_faults(attempt, dps))
        found.update(_file_faults(attempt.x509))
    return found


def _in_url(url: str) -> Iterator[tuple[str, str, object, str]]:
    """The names in what a client of a service asked for, each with its word and what is wrong with it."""
    if not url:
        return
    place = urlsplit(url)
    host = place.hostname or ""
    # a host with a scheme in front, behind the scheme of the client
    yield HOST, "host name", host, f"it has {host}:// in front" if host in ("http", "https") else host_problem(host)
    kind, _, name = (
        place.path.strip("/").rpartition("/") if not place.path.endswith("/") else (place.path[1:-1], "", "")
    )
    kind, name = kind.rpartition("/")[2].lower(), unquote(name)
    if kind in ("enrollments", "registrations"):
        yield REGISTRATION_ID, "registration ID", name, registration_id_problem(name)
    elif kind == "enrollmentgroups":
        yield REGISTRATION_ID, "name of an enrollment group", name, registration_id_problem(name)
    elif kind in ("devices", "twins"):
        yield DEVICE_ID, "device ID", name, device_id_problem(name)


def _place_faults(attempt: Attempt, dps: Any) -> Iterator[tuple[str, str]]:
    """Whether a client for DPS was sent to a hub, or the other way round."""
    kind = urlsplit(attempt.url).path.strip("/").partition("/")[0].lower()
    manages_dps, manages_hub = kind in _OF_DPS, kind in _OF_HUB
    host = next(iter(attempt.hosts), "") if len(attempt.hosts) == 1 else ""
    of_dps = {getattr(dps, name, "") for name in ("provisioning_host", "service_host")}
    is_dps = bool(host) and (host in of_dps or DPS_DOMAIN in host)
    is_hub = host in getattr(dps, "hubs", ()) or HUB_DOMAIN in host
    if manages_hub and is_dps:
        yield HUB_AT_DPS, "The connection string that the client was given is that of a provisioning service."
    if manages_dps and is_hub:
        yield DPS_AT_HUB, "The connection string that the client was given is that of a hub."
    if attempt.device_id is not None and is_dps:
        yield HOST_OF_DPS, "The host that the client was given is that of a provisioning service, not that of a hub."
    if attempt.registration_id is not None and is_hub:
        yield HOST_OF_HUB, "The host that the client was given is that of a hub, not that of a provisioning service."


def _option_faults(attempt: Attempt, dps: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the options, by themselves and for this target."""
    certificates: Any = attempt.server_verification_cert
    proxy: Any = attempt.proxy_options
    if certificates is not None and not (isinstance(certificates, str) and "-----BEGIN" in certificates):
        kind = (
            "something else than its text, perhaps its path" if isinstance(certificates, str) else _kind(certificates)
        )
        yield PATH_FOR_TEXT, f"The client was given {kind} as server_verification_cert, which is the text of the file."
    if "://" in str(getattr(proxy, "proxy_address", "")):
        yield PROXY_KIND, "The client was given a proxy whose address has a scheme such as http:// in front."
        return
    if proxy is not None and not hasattr(proxy, "proxy_address"):
        yield PROXY_KIND, f"The client was given {_kind(proxy)} as proxy_options, which must be a ProxyOptions(...)."
        return
    own = getattr(dps, "device_options", {}).get("proxy_options") if getattr(dps, "is_simulator", False) else None
    if own is None:
        return
    if proxy is None:
        yield NO_OPTIONS, "The client was given no proxy_options, and there is no other way to the simulator."
    elif any(str(getattr(proxy, part)) != str(getattr(own, part)) for part in _OF_PROXY):
        yield OTHER_WAY, "The client was given another proxy than dps.device_options has, which leads to the simulator."


def _file_faults(files: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the files of a certificate: OpenSSL's own words name neither file nor fault."""
    if not isinstance(files, X509):
        return
    phrase = files.pass_phrase
    try:
        certificate_files.check(
            files.certificate_file, files.key_file, Secret(phrase) if isinstance(phrase, str) and phrase else None
        )
    except certificate_files.CertificateError as problem:
        yield FILES, str(problem)


def _kind(value: object) -> str:
    return f"a value of type {type(value).__name__}"


def _frames(error: BaseException) -> Iterator[FrameType]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame
        step = step.tb_next


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _innermost(error: BaseException) -> str:
    """The package in which an exception came up, e.g. ``azure.iot.device`` or ``paho``."""
    frames = list(_frames(error))
    parts = _module(frames[-1]).split(".") if frames else [""]
    return ".".join(parts[:1] if parts[0] != "azure" else parts[: 2 if parts[1:2] == ["core"] else 3])


def _of_client(frame: FrameType) -> Attempt | None:
    """What stands in a method of a device client."""
    module = _module(frame)
    client = frame.f_locals.get("self")
    if client is None:
        return None
    if module.startswith("azure.iot.device"):
        return next((found for name in _PIPELINES if (found := _of_pipeline(getattr(client, name, None)))), None)
    if module.startswith("helpers.tpm") and hasattr(client, "_options") and hasattr(client, "_registration_id"):
        # an ID that is derived from the TPM is not asked for again: the TPM may be what failed
        exchange = frame.f_locals.get("exchange")
        return Attempt(
            registration_id=client._registration_id or getattr(exchange, "registration_id", None),
            id_scope=client._id_scope,
            host=client._options.host,
            is_device=True,
        )
    return None


def _of_pipeline(pipeline: Any) -> Attempt | None:
    settings = getattr(getattr(pipeline, "_nucleus", None), "pipeline_configuration", None)
    if settings is None:
        return None
    host = getattr(settings, "gateway_hostname", None) or getattr(settings, "hostname", None)
    given: dict[str, Any] = {name: getattr(settings, name, None) for name in _KEPT}
    return Attempt(host=host, is_device=True, **given)


def _of_factory(frame: FrameType) -> Attempt | None:
    """What stands in a ``create_from_...`` of a device client, which failed before there was one."""
    given = frame.f_locals
    if not _module(frame).startswith(("azure.iot.device", "helpers.tpm")) or "cls" not in given:
        return None
    if not {"provisioning_host", "hostname"} & set(given):
        return None
    options = {**(given.get("kwargs") or {}), **(given.get("options") or {})}
    return Attempt(
        registration_id=_given(given, "registration_id"),
        id_scope=_given(given, "id_scope"),
        device_id=_given(given, "device_id"),
        module_id=given.get("module_id"),
        host=_given(given, "provisioning_host" if "provisioning_host" in given else "hostname"),
        server_verification_cert=options.get("server_verification_cert"),
        proxy_options=options.get("proxy_options"),
        x509=given.get("x509"),
        is_device=True,
    )


def _given(given: Mapping[str, object], name: str) -> object:
    """An argument; ``None`` means that there is none of this name, so where it was given it counts as an empty text."""
    return ("" if given[name] is None else given[name]) if name in given else None


def _asked_of(error: BaseException) -> str:
    """The URL that an answer belongs to."""
    request = getattr(getattr(error, "response", None), "request", None) or getattr(error, "request", None)
    url = getattr(request, "url", "")
    return url if isinstance(url, str) else ""


def _url_in(frame: FrameType) -> str:
    if not _module(frame).startswith(_SENDERS):
        return ""
    request = frame.f_locals.get("request")
    url = getattr(getattr(request, "http_request", request), "url", "")
    return url if isinstance(url, str) and "://" in url else ""

"""What goes wrong on this side, before or between answers: a part of the table of :mod:`helpers.diagnosis.table`."""

from __future__ import annotations

from . import causes, causes_at_client
from .causes import CLEAN_UP, FAILS, FIRST, VERIFY, X509_START, Cause
from .kinds import SIMULATOR, Symptom, symptom

#: Files, and the way to a service.
ON_THE_WAY: tuple[Symptom, ...] = (
    symptom(
        "certificate files not usable",
        "CertificateError, before anything is sent",
        "A certificate, its key or its pass phrase cannot be used; the message names the file and the fault.",
        "Follow the message.",
        f"{X509_START}, step 2",
        classes="CertificateError CertificateFileError",
    ),
    symptom(
        "key of another certificate",
        "SSLError: KEY_VALUES_MISMATCH",
        "The private key does not belong to the first certificate of the certificate file.",
        "Put the device's own certificate first, and give the key that was made with it.",
        f"{X509_START}, step 2",
        text=r"KEY_VALUES_MISMATCH",
        at_client=[causes_at_client.FILES],
    ),
    symptom(
        "key too small",
        "SSLError: EE_KEY_TOO_SMALL, before anything is sent",
        [causes.WEAK_KEY],
        text=r"KEY_TOO_SMALL|MD_TOO_WEAK",
    ),
    symptom(
        "certificate or key not readable",
        "SSLError: PEM lib",
        [
            Cause(
                "The pass phrase of the key file is wrong or missing.",
                "Give it as pass_phrase=... of X509(...).",
                f"{X509_START}, In practice",
            ),
            Cause(
                "A file holds no PEM certificate, or no PEM key (the .cer file is DER, which the SDK does not read).",
                "Give the .pem files: the chain as certificate file, the key as key file.",
                f"{X509_START}, step 2",
            ),
        ],
        text=r"(?i)\bPEM\b|UNKNOWN_CERTIFICATE_TYPE|ASN1 lib",
        classes="SSLError",
        at_client=[causes_at_client.FILES],
    ),
    symptom(
        "file not there",
        "FileNotFoundError: No such file or directory",
        "The certificate file or the key file that X509(...) names does not exist.",
        "Save the device's certificate again, and give the paths that save() returned.",
        f"{X509_START}, step 2",
        classes="FileNotFoundError",
    ),
    symptom(
        "certificate file gone",
        "OSError: Could not find a suitable TLS CA certificate bundle",
        [causes.SIMULATOR_GONE],
        text=r"TLS CA certificate bundle, invalid path",
    ),
    symptom(
        "token not usable",
        "ValueError: Invalid SasToken provided",
        [causes.MALFORMED_TOKEN],
        text=r"Invalid SasToken",
    ),
    symptom(
        "token expired",
        "ValueError: Provided SasToken has already expired",
        [causes.EXPIRED_TOKEN],
        text=r"(?i)SasToken has already expired",
    ),
    symptom(
        "host refused by the way to it",
        "ProtocolProxyError or ProxyError with 403: Forbidden or 400: Bad Request",
        [
            Cause(
                "Against the simulator: the host is none of its own, so it leads nowhere.",
                "Use dps.provisioning_host, and the hub that register() returned.",
                f"{FIRST}, step 2",
                r"is not simulated here",
                only_here=True,
            ),
            causes_at_client.HOST,
            Cause(
                "On Azure: the proxy of your network does not let this host through.",
                "Ask for *.azure-devices.net and *.azure-devices-provisioning.net to be allowed.",
                f"{FIRST}, In practice",
            ),
        ],
        text=r"403:? Forbidden|(?i:socket error|tunnel|prox).*\b400:? Bad Request|^HTTPError: 400: Bad Request",
        asks=SIMULATOR,
    ),
    symptom(
        "proxy unreachable",
        "ProtocolProxyError, ProxyError or 'Unable to connect to proxy'",
        [
            causes.SIMULATOR_GONE,
            causes_at_client.OTHER_WAY,
            Cause(
                "The proxy of your network does not answer, which HTTPS_PROXY or the options of the client name.",
                "Check HTTPS_PROXY, or ask whoever runs the network. To the simulator, only dps.service_client(), "
                "dps.registry(...) and **dps.device_options lead.",
                f"{FIRST}, In practice",
            ),
        ],
        classes="ProtocolProxyError ProxyError ProxyConnectionError ClientProxyConnectionError HTTPError "
        "ServiceRequestError ClientRequestError",
        # not what only stands in the name of a host
        text=r"(?i)prox(?![\w-]*\.)",
        asks=SIMULATOR,
        at_client=[causes_at_client.OTHER_WAY, causes_at_client.HOST],
    ),
    symptom(
        "certificate not trusted",
        "TlsExchangeAuthError, SSLError or 'certificate verify failed'",
        [causes.TRUST],
        text=r"(?i)certificate.verify.failed|SSLCertVerificationError",
        classes="TlsExchangeAuthError SSLError SSLCertVerificationError",
    ),
)

#: What the clients, the helpers and you do wrong; the most general at the end.
ON_THIS_SIDE: tuple[Symptom, ...] = (
    symptom(
        "simulator of other code",
        "LaunchError with 'runs the code', 'left alone' or 'cannot share'",
        [
            Cause(
                "A simulator of other code than the files here runs on this workspace: somebody started it by hand, or "
                "another checkout started it.",
                "Stop it with the command in the message and run the cell again, or set DPS_WORKSPACE to another "
                "folder. Nothing is lost.",
                f"{FIRST}, step 2",
                only_here=True,
            )
        ],
        classes="LaunchError",
        text=r"left alone|cannot share",
    ),
    symptom(
        "workspace of a newer version",
        "LaunchError, WorkspaceError or StoreError with 'newer version'",
        "A newer version of this project wrote the workspace or the state of the simulator.",
        "Update the project, or set DPS_WORKSPACE to another folder. Nothing was changed.",
        f"{FIRST}, step 2",
        classes="LaunchError WorkspaceError StoreError",
        text=r"newer version",
    ),
    symptom(
        "simulator refused a setting",
        "TargetError: The simulator refused ...",
        [
            Cause(
                "The simulator runs, and does not take a value that it was to be set to; the message names it.",
                "Follow the message.",
                f"{FIRST}, step 2",
                only_here=True,
            )
        ],
        classes="TargetError LaunchError",
        text=r"The simulator refused [A-Z]+ /",
    ),
    symptom(
        "simulator does not start",
        "LaunchError",
        "A port is taken, or the state folder cannot be written or is damaged; the message says which.",
        "Follow the message. 90_clean_up removes the simulator's state; the next connect() makes a new one.",
        f"{CLEAN_UP}, step 4",
        classes="LaunchError",
    ),
    symptom(
        "setting or parameter wrong",
        "TargetError, CredentialsError, ParameterError, WorkspaceError and other errors of helpers",
        "A value that you gave cannot be used; the message names it.",
        "Follow the message.",
        f"{FIRST}, step 2",
        classes="TargetError CredentialsError ParameterError WorkspaceError LessonError FaultError FleetError "
        "SettingError ProgressLineError NotebookError",
    ),
    symptom(
        "step not passed",
        "CheckFailed: a line with ✗ and a hint",
        "A step of a notebook did not do what it should; the message holds a hint.",
        "Follow the hint. Then run the notebook again from the cell that it names, or from the top.",
        f"{FIRST}, Check yourself",
        classes="CheckFailed",
    ),
    symptom(
        "connection string not usable",
        "ValueError: Invalid Connection String",
        "The connection string lacks a part, was not copied as a whole, or has quotation marks around it.",
        "Copy it again: HostName=…;SharedAccessKeyName=…;SharedAccessKey=…, for a device DeviceId=… instead.",
        f"{FIRST}, In practice",
        classes="ValueError TypeError KeyError",
        text=r"(?i)connection string",
    ),
    symptom(
        "key not usable",
        "ValueError: Invalid Symmetric Key, or binascii.Error",
        "The key is no base64: it was not copied as a whole, or something else was copied.",
        "Take the key again, with the '=' at its end; it is made of A-Z, a-z, 0-9, + and /.",
        f"{FAILS}, step 2",
        classes="ValueError Error",
        text=r"(?i)symmetric key|base64|incorrect padding|Unable to sign",
    ),
    symptom(
        "message too large",
        "ValueError: Size of telemetry message can not exceed 256 KB",
        "A message is too large: a hub takes 256 KB, with its properties.",
        "Send less at once; large files go another way (file upload).",
        f"{VERIFY}, step 5",
        text=r"exceed 256 KB",
    ),
    symptom(
        "value not usable by the client",
        "ValueError, TypeError or another error that arises inside the client, before anything is sent",
        "The client cannot use a value that you gave; the last line of the chain names it.",
        "Compare the call with the one in the notebook: names of arguments, and what kind of value each wants.",
        f"{FAILS}, In practice",
        classes="ValueError TypeError ValidationError SerializationError DeserializationError DecodeError",
        at_client=[causes_at_client.REGISTRATION_ID, causes_at_client.HOST, causes_at_client.DEVICE_ID],
    ),
    symptom(
        "value of another kind",
        "AttributeError, KeyError or IndexError that arises inside the client",
        "The client was given a value of another kind than it expects; the last line of the chain hints at it.",
        "Compare the call with the one in the notebook: what kind of value each argument wants.",
        f"{FAILS}, In practice",
        classes="AttributeError KeyError IndexError",
        inside="azure.iot.device azure.iot.hub azure.iot.deviceprovisioning azure.core msrest paho uamqp requests",
        at_client=[causes_at_client.REGISTRATION_ID, causes_at_client.HOST, causes_at_client.DEVICE_ID],
    ),
    symptom(
        "service refuses the device",
        "ServiceError, without a status that this table knows",
        "DPS or the hub refused what the device asked for; a number in the message is an HTTP status.",
        "Read the message; ask for the reason where you manage the service: enrollment, record, registry.",
        f"{FAILS}, In practice",
        classes="ServiceError OperationError",
        asks="provisioning hub",
    ),
    symptom(
        "client failed",
        "ClientError, AzureError or ClientException",
        "Something failed inside the client; the last line of the chain is where it began.",
        "Make a new client and try once more. If it fails again, search for that last line.",
        f"{FAILS}, In practice",
        classes="ClientError ProtocolClientError PipelineException AzureError ClientException RequestException",
    ),
)

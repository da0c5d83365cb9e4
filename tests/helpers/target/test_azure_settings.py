"""Settings as people write them."""

from pathlib import Path

import pytest

from helpers.credentials import CredentialsError
from helpers.target import TargetError, azure_settings, connect
from helpers.target import azure as azure_target
from helpers.target.settings import SIZE_LIMIT, SettingError, hub_connections, read_file, service_connection

# from the unit tests of the Azure CLI
KEY = "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw="


def string(host, policy="p"):
    return f"HostName={host};SharedAccessKeyName={policy};SharedAccessKey={KEY}"


DPS, ONE, TWO = "my.azure-devices-provisioning.net", "one.azure-devices.net", "two.azure-devices.net"
LINES = f"""# für mich
PROVISIONING_IDSCOPE=0ne00000A01
PROVISIONING_SERVICE_CONNECTION_STRING={string(DPS)}
IOTHUB_CONNECTION_STRING='{string(ONE)} {string(TWO)}'
"""
NAMES = [line.partition("=")[0] for line in LINES.splitlines()[1:]]


@pytest.fixture
def file(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(azure_target, "__file__", str(tmp_path / "helpers" / "target" / "azure.py"))
    monkeypatch.setattr(azure_target, "port_is_open", lambda host, port: True)
    return tmp_path / ".env"


def test_the_nearest_file_counts(file):
    file.write_text("PROVISIONING_IDSCOPE=0ne00000A01\n")
    assert azure_settings() == {"PROVISIONING_IDSCOPE": "0ne00000A01"}
    (file.parent / "helpers").mkdir()
    (file.parent / "helpers" / ".env").write_text("PROVISIONING_IDSCOPE=0ne00000B02\n")
    assert azure_settings() == {"PROVISIONING_IDSCOPE": "0ne00000B02"}


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with a mark", "utf-32", "cp1252", "latin-1", "cp437"]
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_file_of_settings_may_have_another_encoding(file, encoding, line_end):
    text = LINES.replace("\n", line_end)
    marked = ("\ufeff" + text).encode("utf-16-be")
    file.write_bytes(marked if "mark" in encoding else text.encode(encoding))
    with connect("azure") as dps:
        assert (dps.id_scope, dps.service_host, dps.hubs) == ("0ne00000A01", DPS, (ONE, TWO))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (LINES.encode("utf-16-le"), "UTF-16"),
        (b"\xff\xfe" + b"a", "damaged"),
        (LINES.replace("0ne00000A01", "0né").encode("cp1252"), "the value of PROVISIONING_IDSCOPE"),
        (b"#" * (SIZE_LIMIT + 1), "more than 1000000 bytes"),
    ],
    ids=["no mark", "cut", "in a value", "large"],
)
def test_a_file_that_cannot_be_read_is_named(file, content, says):
    file.write_bytes(content)
    with pytest.raises(TargetError, match=r"\.env") as caught:
        azure_settings()
    assert says in str(caught.value)
    assert "UTF-8" in str(caught.value) or "bytes" in says
    assert KEY[:8] not in str(caught.value)


NOT_READ = [
    *("IOTHUB_CONNECTION_STRING", "IOTHUB_CONNECTION_STRING: {}", "IOTHUB_CONNECTION_STRING {}", "{{name}}:={}"),
    *("set IOTHUB_CONNECTION_STRING={}", "setx IOTHUB_CONNECTION_STRING {}", "$env:IOTHUB_CONNECTION_STRING='{}'"),
    *("IOTHUB_CONNECTION_STRING='{}", 'IOTHUB_CONNECTION_STRING="{}', "IOTHUB_CONNECTION_STRING='{}' and more"),
    *("iothub_connection_string={}", "Iothub_Connection_String='{}'", '  "IOTHUB_CONNECTION_STRING": "{}",'),
]


@pytest.mark.parametrize("line", NOT_READ)
def test_a_line_that_names_a_setting_and_does_not_set_it_is_told(file, monkeypatch, line):
    line = line.format(string(ONE)).replace("{name}", "IOTHUB_CONNECTION_STRING")
    file.write_text(f"# settings\nPROVISIONING_IDSCOPE=0ne00000A01\n{line}\n", encoding="utf-8")
    with pytest.raises(TargetError, match=r"Line 3 of the file .*IOTHUB_CONNECTION_STRING=value") as caught:
        azure_settings()
    assert KEY[:8] not in str(caught.value)
    # what is set elsewhere is not looked for in the file
    monkeypatch.setenv("IOTHUB_CONNECTION_STRING", "of the environment")
    assert azure_settings()["IOTHUB_CONNECTION_STRING"] == "of the environment"


@pytest.mark.parametrize(
    "line",
    [
        *("", "# IOTHUB_CONNECTION_STRING: {}", "IOTHUB_CONNECTION_STRING=", "MY_IOTHUB_CONNECTION_STRING: {}"),
        *("OTHER: {}", "OTHER='{}", "OTHER=IOTHUB_CONNECTION_STRING"),
    ],
)
def test_other_lines_are_nobodys_business(file, line):
    file.write_text(f"{line.format(string(ONE))}\nPROVISIONING_IDSCOPE=0ne00000A01\n", encoding="utf-8")
    assert azure_settings() == {"PROVISIONING_IDSCOPE": "0ne00000A01"}


def test_a_folder_in_the_place_of_the_file_is_no_file(file):
    file.mkdir()
    assert azure_settings() == {}
    assert read_file(file / "missing", NAMES) == {}


def test_a_file_that_one_may_not_read_is_named(file, monkeypatch):
    def denied(self, *arguments, **options):
        # root may read everything, so this is said for the system
        raise PermissionError(13, "Permission denied")

    file.write_text(LINES, encoding="utf-8")
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(SettingError, match=r"\.env cannot be read: Permission denied"):
        read_file(file, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        f"{string(ONE)} {string(TWO)}",
        f"{string(ONE)}; {string(TWO)};",
        f"'{string(ONE)}';\n'{string(TWO)}'",
        f'"{string(ONE)}"\r\n"{string(TWO)}"',
        f"{string(ONE).replace(';', '; ')} {string(TWO).replace(';', ' ; ')}",
        f"{string(ONE)}\t{';'.join(reversed(string(TWO).split(';')))}",
    ],
)
def test_several_hubs_in_one_setting(text):
    found = hub_connections({"SETTING": text}, "SETTING")
    assert [each.host for each in found] == [ONE, TWO]
    assert {each.key.reveal() for each in found} == {KEY}


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (service_connection, string(ONE), f"connection string of a hub, {ONE}"),
        (service_connection, f"{string(DPS)} {string(DPS)}", "more than one"),
        (service_connection, f"HostName={DPS};DeviceId=a;SharedAccessKey={KEY}", "belongs to one device"),
        (hub_connections, f"{string(ONE)},{string(TWO)}", "separate their connection strings by spaces"),
        (hub_connections, f"{string(ONE)} | {string(TWO)}", "separate their connection strings by spaces"),
        (hub_connections, f"{string(ONE)};{string(TWO)}", "separate them by spaces"),
        (hub_connections, string(DPS), f"provisioning service, {DPS}"),
        (hub_connections, f"{string(ONE)} {string(DPS)}", f"provisioning service, {DPS}"),
        (hub_connections, f"{string(ONE)} {string(ONE)}", f"two connection strings of {ONE}"),
        (hub_connections, f"Endpoint=sb://x.net/;SharedAccessKeyName=p;SharedAccessKey={KEY}", "Event Hub"),
        (hub_connections, string("x.servicebus.windows.net"), "connection string of an Event Hub"),
        (hub_connections, KEY, "SETTING"),
        (hub_connections, "HostName=https://one.azure-devices.net/;SharedAccessKey=", "lacks"),
    ],
)
def test_strings_in_each_others_place_are_refused_by_name(read, text, says):
    with pytest.raises(CredentialsError, match="SETTING") as caught:
        read({"SETTING": text}, "SETTING")
    assert says in str(caught.value)
    assert KEY[:8] not in str(caught.value)


GOOD = {
    "PROVISIONING_IDSCOPE": "0ne00000A01",
    "PROVISIONING_SERVICE_CONNECTION_STRING": string(DPS),
    "IOTHUB_CONNECTION_STRING": string(ONE),
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"IOTHUB_CONNECTION_STRING": string(DPS), "PROVISIONING_SERVICE_CONNECTION_STRING": string(ONE)}, "of a hub"),
        ({"PROVISIONING_IDSCOPE": string(DPS)}, "PROVISIONING_IDSCOPE"),
        ({"PROVISIONING_IDSCOPE": KEY}, "PROVISIONING_IDSCOPE"),
        ({"PROVISIONING_HOST": string(DPS)}, "PROVISIONING_HOST"),
        ({"PROVISIONING_HOST": KEY}, "PROVISIONING_HOST"),
        ({"PROVISIONING_HOST": ONE}, "host of a hub"),
        ({"IOTHUB_CONNECTION_STRING": None}, "lacks"),
        ({"IOTHUB_CONNECTION_STRING": " '' "}, "lacks"),
        ({"PROVISIONING_IDSCOPE": 7}, "of type int"),
    ],
)
def test_mixed_up_settings_are_refused_without_a_key(file, changed, says):
    with pytest.raises(TargetError) as caught:
        connect("azure", settings={**GOOD, **changed})
    assert says in str(caught.value)
    assert KEY[:8] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_shells_and_people_add_is_taken_off(file):
    given = {name: f" '{value}'\r\n" for name, value in GOOD.items()}
    host = "https://global.azure-devices-provisioning.net:443/"
    with connect("azure", settings={**given, "PROVISIONING_HOST": f'"{host}"'}) as dps:
        assert dps.provisioning_host == "global.azure-devices-provisioning.net"
        assert dps.id_scope == "0ne00000A01"
        assert dps.hub_connection_string(f"https://{ONE.upper()}:443/").reveal() == string(ONE)


@pytest.mark.parametrize("cloud", ["net", "cn", "us"])
def test_devices_register_in_the_cloud_of_the_service(file, cloud):
    settings = {**GOOD, "PROVISIONING_SERVICE_CONNECTION_STRING": string(f"my.azure-devices-provisioning.{cloud}")}
    with connect("azure", settings=settings) as dps:
        assert dps.provisioning_host == f"global.azure-devices-provisioning.{cloud}"
    with connect("azure", settings={**settings, "PROVISIONING_HOST": DPS}) as dps:
        assert dps.provisioning_host == DPS

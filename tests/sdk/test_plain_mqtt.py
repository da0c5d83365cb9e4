"""Without an SDK and without a firmware: a few lines with paho-mqtt, and the commands of Mosquitto.

User names, topics and tokens are written here as docs/clients.md has them.
"""

import base64
import hashlib
import hmac
import json
import queue
import shutil
import ssl
import subprocess
import time
from urllib.parse import quote

import pytest
import socks
from other_programs import environment, skip
from paho.mqtt import client as mqtt
from patience import PATIENCE
from sdk_clients import KEY, derive
from test_wolfssl import other_authority
from test_x509_end_to_end import prepare

from dps_simulator import CloudToDeviceMessage

#: The two topics of DPS, and where its answers come.
REGISTER = "$dps/registrations/PUT/iotdps-register/?$rid={rid}"
POLL = "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={operation}"
ANSWERS = "$dps/registrations/res/#"


def token(resource, key, more=""):
    """The string that is the password, by hand."""
    resource, expiry = quote(resource, safe=""), int(time.time()) + 3600
    signature = hmac.digest(base64.b64decode(key), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    signature = quote(base64.b64encode(signature), safe="")
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}{more}"


def for_dps(running, device, key):
    """Client ID, user name and password; no password with a certificate."""
    resource = f"{running.id_scope}/registrations/{device}"
    return device, f"{resource}/api-version=2019-03-31", key and token(resource, key, "&skn=registration")


def for_hub(hub, device, key):
    return device, f"{hub}/{device}/?api-version=2021-04-12", key and token(f"{hub}/devices/{device}", key)


# --- paho-mqtt ----------------------------------------------------------------------------------------------------

WAYS = pytest.mark.parametrize("way", ["mqtt", "websocket", "direct"])


@pytest.fixture
def paho(sdk, way, monkeypatch):
    """Connects with paho-mqtt; gives the client and the queue of what arrives."""
    running, clients = sdk.running, []

    def connect(host, login, files=None):
        client_id, user, password = login
        client = mqtt.Client(client_id=client_id, transport="websockets" if way == "websocket" else "tcp")
        client.username_pw_set(user, password)
        context = ssl.create_default_context(cafile=running.certificate_authority_file)
        if files:
            context.load_cert_chain(files.chain_file, files.key_file)
        client.tls_set_context(context)
        client.ws_set_options(path="/$iothub/websocket")
        came = queue.Queue()
        client.on_connect = lambda _client, _data, _flags, code: came.put(code)
        client.on_subscribe = lambda _client, _data, _id, granted: came.put(granted)
        client.on_message = lambda _client, _data, message: came.put((message.topic, message.payload))
        if way == "direct":
            client.connect("127.0.0.1", running.tls_port)
        elif way == "websocket":
            client.proxy_set(proxy_type=socks.HTTP, proxy_addr="127.0.0.1", proxy_port=running.proxy_port)
            client.connect(host, 443)
        else:
            # as under `dps-simulator run`
            monkeypatch.setenv("MQTT_PROXY", running.proxy_url)
            client.connect(host, 8883)
        client.loop_start()
        clients.append(client)
        assert came.get(timeout=PATIENCE) == 0
        return client, came

    yield connect
    for client in clients:
        client.disconnect()
        client.loop_stop()


def register(client, came, device):
    """The loop over 202: status and answer of the last poll, and how many there were."""
    client.subscribe(ANSWERS, qos=1)
    assert came.get(timeout=PATIENCE) == (1,)
    rid, topic = 1, REGISTER.format(rid=1)
    while True:
        client.publish(topic, json.dumps({"registrationId": device}), qos=1)
        where, body = came.get(timeout=PATIENCE)
        status, answer = int(where.split("/")[3]), json.loads(body)
        if status != 202:
            return status, answer, rid - 1
        time.sleep(int(where.partition("retry-after=")[2] or 2))
        rid += 1
        topic = POLL.format(rid=rid, operation=answer["operationId"])


@WAYS
@pytest.mark.tried("paho-mqtt", "key", "group key", "telemetry", "messages", "twin", "methods")
@pytest.mark.parametrize("pace", ["instant", "polls=2"])
def test_paho_with_a_key(sdk, paho, pace):
    sdk.enroll("pump-1")
    sdk.enroll_group("pumps")
    sdk.simulator.pace = pace
    for device, key in (("pump-1", KEY), ("pump-7", derive(KEY, "pump-7"))):
        client, came = paho(sdk.running.provisioning_host, for_dps(sdk.running, device, key))
        status, answer, polls = register(client, came, device)
        assert (status, answer["status"], polls) == (200, "assigned", 3 if pace == "polls=2" else 0)
    state = answer["registrationState"]
    client, came = paho(state["assignedHub"], for_hub(state["assignedHub"], state["deviceId"], key))
    for topic in ("devices/pump-7/messages/devicebound/#", "$iothub/methods/POST/#", "$iothub/twin/res/#"):
        client.subscribe(topic, qos=1)
        assert came.get(timeout=PATIENCE) == (1,)
    client.publish("devices/pump-7/messages/events/room=cellar", "2.5", qos=1).wait_for_publish(PATIENCE)
    (message,) = sdk.simulator.telemetry(device_id="pump-7")
    assert (message.body, dict(message.properties)) == (b"2.5", {"room": "cellar"})
    sdk.simulator.send_message("pump-7", CloudToDeviceMessage(b"open"))
    assert came.get(timeout=PATIENCE)[1] == b"open"
    client.publish("$iothub/twin/GET/?$rid=7", "", qos=1)
    topic, body = came.get(timeout=PATIENCE)
    assert topic == "$iothub/twin/res/200/?$rid=7"
    assert json.loads(body)["desired"] == {"$version": 1}

    def answer_method(_client, _data, asked):
        request = asked.topic.partition("$rid=")[2]
        client.publish(f"$iothub/methods/res/200/?$rid={request}", json.dumps({"heard": json.loads(asked.payload)}))

    client.on_message = answer_method
    answered = sdk.session().post(
        f"https://{sdk.hub}/twins/pump-7/methods?api-version=2021-04-12",
        json={"methodName": "open", "payload": 3, "responseTimeoutInSeconds": PATIENCE},
        headers={"Authorization": sdk_token(sdk)},
        timeout=PATIENCE,
    )
    assert answered.json() == {"status": 200, "payload": {"heard": 3}}


def sdk_token(sdk):
    fields = dict(part.split("=", 1) for part in sdk.running.hubs[0].connection_string.split(";"))
    return token(sdk.hub, fields["SharedAccessKey"], f"&skn={fields['SharedAccessKeyName']}")


@WAYS
@pytest.mark.tried("paho-mqtt", "certificate", "group certificate")
@pytest.mark.parametrize("kind", ["self-signed individual", "group by intermediate"])
def test_paho_with_a_certificate(sdk, paho, kind, tmp_path):
    files, _, device = prepare(sdk, kind, tmp_path)
    client, came = paho(sdk.running.provisioning_host, for_dps(sdk.running, "pump-101", None), files)
    assert register(client, came, "pump-101")[:1] == (200,)
    client, _ = paho(sdk.hub, for_hub(sdk.hub, device, None), files)
    client.publish(f"devices/{device}/messages/events/", "2.5", qos=1).wait_for_publish(PATIENCE)
    assert [message.body for message in sdk.simulator.telemetry(device_id=device)] == [b"2.5"]


# --- curl, and the commands of Mosquitto ------------------------------------------------------------------------------


@pytest.fixture
def commands(sdk, tmp_path):
    """Runs ``curl`` and ``mosquitto_pub`` and its like; tokens come by files that nobody else can read."""
    for program, package in (("curl", "curl"), ("mosquitto_pub", "mosquitto-clients")):
        if shutil.which(program) is None:
            skip(f"{program} is not installed: apt-get install {package}")
    options = tmp_path / "options"
    options.mkdir(mode=0o700)

    def run(program, *arguments):
        done = subprocess.run(
            [program, *map(str, arguments)],
            env=environment(XDG_CONFIG_HOME=options, HOME=options),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def curl(device, key, path, *arguments, files=None):
        """Asks DPS as a device; the body of the answer, and its status in the last line."""
        running, resource = sdk.running, f"{sdk.running.id_scope}/registrations/{device}"
        headers = ["Content-Type: application/json"]
        if key:
            headers.append(f"Authorization: {token(resource, key, '&skn=registration')}")
        (options / "headers").write_text("\n".join(headers))
        own = ("--cert", files.chain_file, "--key", files.key_file) if files else ()
        code, said = run(
            *("curl", "--silent", "--show-error", "--cacert", running.certificate_authority_file),
            *("--connect-to", f"::127.0.0.1:{running.tls_port}", "--write-out", "\n%{http_code}"),
            *("--header", f"@{options / 'headers'}", *own, *arguments),
            f"https://{running.provisioning_host}/{resource}/{path}?api-version=2021-06-01",
        )
        assert code == 0, said
        body, _, status = said.rpartition("\n")
        return int(status), json.loads(body)

    def mosquitto(program, login, *arguments, files=None, **changes):
        client_id, user, password = login
        (options / program).write_text(f"-P {password}\n" if password else "")
        own = ["--cert", files.chain_file, "--key", files.key_file] if files else []
        to = {"-h": "127.0.0.1", "-p": sdk.running.tls_port, "--cafile": sdk.running.certificate_authority_file}
        where = [word for pair in {**to, **changes}.items() for word in pair]
        version = ["-V", "mqttv311", "-q", "1"]
        return run(program, *version, "-i", client_id, "-u", user, *where, *own, *arguments)

    run.curl, run.mosquitto = curl, mosquitto
    return run


@pytest.mark.clients
@pytest.mark.tried("curl, mosquitto_pub, mosquitto_sub", "key", "group key", "telemetry", "messages")
@pytest.mark.parametrize("kind", ["individual", "group"])
def test_commands_with_a_key(sdk, commands, kind):
    if kind == "group":
        sdk.enroll_group("pumps")
    else:
        sdk.enroll("pump-1")
    key = derive(KEY, "pump-1") if kind == "group" else KEY
    sdk.simulator.pace = "polls=2"
    status, answer = commands.curl("pump-1", key, "register", "-X", "PUT", "-d", '{"registrationId":"pump-1"}')
    polls = 0
    while status == 202:
        polls += 1
        status, answer = commands.curl("pump-1", key, f"operations/{answer['operationId']}")
    state = answer["registrationState"]
    assert (status, state["status"], polls) == (200, "assigned", 3)
    login = for_hub(state["assignedHub"], state["deviceId"], key)
    assert commands.mosquitto("mosquitto_pub", login, "-t", "devices/pump-1/messages/events/", "-m", "2.5") == (0, "")
    assert [message.body for message in sdk.simulator.telemetry(device_id="pump-1")] == [b"2.5"]
    sdk.simulator.send_message("pump-1", CloudToDeviceMessage(b"open"))
    waiting = ("-t", "devices/pump-1/messages/devicebound/#", "-C", "1")
    assert commands.mosquitto("mosquitto_sub", login, *waiting) == (0, "open")


@pytest.mark.clients
@pytest.mark.tried("curl, mosquitto_pub, mosquitto_sub", "certificate", "group certificate")
@pytest.mark.parametrize("kind", ["self-signed individual", "group by intermediate"])
def test_commands_with_a_certificate(sdk, commands, kind, tmp_path):
    files, _, device = prepare(sdk, kind, tmp_path)
    status, answer = commands.curl("pump-101", None, "register", "-X", "PUT", "-d", "{}", files=files)
    assert (status, answer["status"]) == (202, "assigning")
    status, answer = commands.curl("pump-101", None, f"operations/{answer['operationId']}", files=files)
    assert (status, answer["registrationState"]["deviceId"]) == (200, device)
    send = ("-t", f"devices/{device}/messages/events/", "-m", "2.5")
    assert commands.mosquitto("mosquitto_pub", for_hub(sdk.hub, device, None), *send, files=files) == (0, "")
    assert len(sdk.simulator.telemetry(device_id=device)) == 1


@pytest.mark.clients
def test_curl_finds_it_by_the_variables_of_run(sdk):
    if shutil.which("curl") is None:
        skip("curl is not installed: apt-get install curl")
    done = subprocess.run(
        ["curl", "--silent", f"https://{sdk.running.service_host}/enrollments/pump-1?api-version=2021-10-01"],
        env=sdk.running.environment(environment()),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)["message"]) == (0, "Unauthorized")


@pytest.mark.clients
def test_what_mosquitto_cannot_do(sdk, commands):
    """Register: one call sends, another one listens, and DPS answers the connection that asked and no other."""
    sdk.enroll("pump-1")
    login = for_dps(sdk.running, "pump-1", KEY)
    ask = ("-t", REGISTER.format(rid=1), "-m", "{}")
    # it registers, but nobody hears the answer
    assert commands.mosquitto("mosquitto_pub", login, *ask) == (0, "")
    assert sdk.service().device_registration_state.get("pump-1")["status"] == "assigned"
    # the program that does both wants a topic without wildcards, and the topic of an answer has the status in it
    code, said = commands.mosquitto("mosquitto_rr", login, *ask, "-e", ANSWERS)
    assert (code, "does it contain '+' or '#'" in said) == (1, True)


@pytest.mark.clients
def test_mosquitto_verifies_the_server(sdk, commands, tmp_path):
    sdk.enroll("pump-1")
    login = for_dps(sdk.running, "pump-1", KEY)
    ask = ("-d", "-t", REGISTER.format(rid=1), "-m", "{}")
    code, said = commands.mosquitto("mosquitto_pub", login, *ask, **{"--cafile": other_authority(tmp_path)})
    assert (code != 0, "certificate verify failed" in said) == (True, True)
    # another way to write the address, for which the certificate does not stand
    code, said = commands.mosquitto("mosquitto_pub", login, *ask, **{"-h": "127.1"})
    assert (code != 0, "host name verification failed" in said) == (True, True)

"""A device in MicroPython, without an SDK: it registers, connects to its hub, sends telemetry and waits for a message.

For a board: copy it there with ``mqtt.py``, ``settings.json`` and the files that this names, all in DER; ``boot.py``
joins the network and sets the clock (``ntptime``), without which no certificate and no token is valid. The settings:
``host``, ``id_scope``, ``registration_id``, ``authority`` (whom to trust as a server); ``key`` (base64), or
``certificate`` and ``private_key``. If needed ``port``, ``address`` (where all names lead to, for networks that do not
know them), ``telemetry``, and ``wait`` for a message or desired property.
"""

import binascii
import hashlib
import json
import time

import mqtt

with open("settings.json") as file:
    settings = json.load(file)
tls = mqtt.trust(settings["authority"], settings.get("certificate"), settings.get("private_key"))


def encode(text):
    """Percent-encode all but letters, digits and ``-._~``."""
    plain = [each.isalpha() or each.isdigit() or each in "-._~" for each in text]
    return "".join(each if as_it_is else f"%{ord(each):02X}" for each, as_it_is in zip(text, plain))


def sign(resource, more):
    """A token for an hour; ``None`` with a certificate. HMAC-SHA256 is two hashes, and boards count from 2000."""
    if "key" not in settings:
        return None
    now = int(time.time()) + (946684800 if time.gmtime(0)[0] == 2000 else 0)
    resource, expiry = encode(resource), str(now + 3600)
    key, signature = binascii.a2b_base64(settings["key"]), (resource + "\n" + expiry).encode()
    for pad in (0x36, 0x5C):
        signature = hashlib.sha256(bytes(each ^ pad for each in key + bytes(64 - len(key))) + signature).digest()
    signature = encode(binascii.b2a_base64(signature).decode().strip())
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}{more}"


def connect(host, client, user, resource, more=""):
    """A connection to DPS or a hub."""
    port, address = settings.get("port", 8883), settings.get("address", host)
    connection = mqtt.Connection(tls, host, address, port, client, user, sign(resource, more))
    print("connected to", host, "as", client)
    return connection


def provision():
    """Register, and ask again for as long as the answer is 202: host name of the hub and device ID."""
    name, number, path, more = settings["registration_id"], 1, "PUT/iotdps-register", ""
    resource = settings["id_scope"] + "/registrations/" + name
    service = connect(settings["host"], name, resource + "/api-version=2019-03-31", resource, "&skn=registration")
    service.subscribe("$dps/registrations/res/#")
    while True:
        service.publish(f"$dps/registrations/{path}/?$rid={number}{more}", json.dumps({"registrationId": name}))
        topic, body = service.message()
        status, answer = int(topic.split("/")[3]), json.loads(body)
        if status != 202 and status < 429:
            break
        number += 1
        if status == 202:  # anything else means: the same again, later
            path, more = "GET/iotdps-get-operationstatus", "&operationId=" + answer["operationId"]
        seconds = int(topic.split("retry-after=")[1]) if "retry-after=" in topic else 2
        print("answer", status, "asking again in", seconds, "s")
        time.sleep(seconds)
    service.close()
    if answer.get("status") != "assigned":
        raise OSError(f"not provisioned: {answer.get('errorCode', answer.get('status'))}")
    return answer["registrationState"]["assignedHub"], answer["registrationState"]["deviceId"]


hub, device = provision()
print("assigned to", hub, "as", device)
connection = connect(hub, device, hub + "/" + device + "/?api-version=2021-04-12", hub + "/devices/" + device)
connection.subscribe("devices/" + device + "/messages/devicebound/#")
connection.subscribe("$iothub/twin/PATCH/properties/desired/#")
connection.publish("devices/" + device + "/messages/events/", settings.get("telemetry", '{"temperature": 21.5}'))
print("telemetry sent")
if settings.get("wait"):
    print("received", connection.message()[1].decode())
connection.close()
print("done")

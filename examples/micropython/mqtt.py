"""MQTT 3.1.1 over TLS, as much of it as a device needs for DPS and a hub; it waits for one answer at a time."""

import socket
import ssl


def trust(authority, certificate=None, key=None):
    """Settings of TLS: whom to trust as a server, and the device's own certificate and key. All are files in DER."""
    settings = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    settings.verify_mode = ssl.CERT_REQUIRED  # MicroPython trusts everybody unless told so
    with open(authority, "rb") as file:
        settings.load_verify_locations(cadata=file.read())
    if certificate:
        settings.load_cert_chain(certificate, key)
    return settings


def text(value):
    """A text as MQTT has it: its length first."""
    value = value if isinstance(value, bytes) else value.encode()
    return len(value).to_bytes(2, "big") + value


class Connection:
    """A connection. ``address`` is where the host name leads to; ``password`` is ``None`` with a certificate."""

    def __init__(self, tls, host, address, port, client, user, password):
        self.plain, self.inbox = socket.socket(), []
        self.plain.connect(socket.getaddrinfo(address, port)[0][-1])
        self.stream = tls.wrap_socket(self.plain, server_hostname=host)
        login = text(client) + text(user) + (b"" if password is None else text(password))
        self.send(0x10, text("MQTT") + bytes([4, 0x82 if password is None else 0xC2, 0, 240]) + login)
        code = self.until(2)[1]
        if code != 0:
            raise OSError(f"{host} refuses the connection with code {code}")

    def send(self, kind, body):
        """Write one packet."""
        size, length = len(body), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        self.stream.write(bytes([kind]) + length + bytes([size]) + body)

    def read(self, size):
        """Exactly so many bytes."""
        data = b""
        while len(data) < size:
            part = self.stream.read(size - len(data))
            if not part:
                raise OSError("the connection ended")
            data += part
        return data

    def until(self, wanted):
        """The body of the next packet of this kind; messages are acknowledged, and wait in ``inbox``."""
        while True:
            first, size, shift, more = self.read(1)[0], 0, 0, 128
            while more & 128:
                more = self.read(1)[0]
                size, shift = size | (more & 127) << shift, shift + 7
            body = self.read(size)
            if first >> 4 == 3:
                begin = end = 2 + int.from_bytes(body[:2], "big")
                if first & 6:
                    begin += 2
                    self.send(0x40, body[end:begin])
                self.inbox.append((body[2:end].decode(), body[begin:]))
            if first >> 4 == wanted:
                return body

    def subscribe(self, topic):
        """Subscribe with quality of service 1, and see it granted."""
        self.send(0x82, b"\x00\x01" + text(topic) + b"\x01")
        if self.until(9)[2] == 128:
            raise OSError("no subscription to " + topic)

    def publish(self, topic, body):
        """Publish with quality of service 1, and wait for the acknowledgement."""
        self.send(0x32, text(topic) + b"\x00\x01" + text(body)[2:])
        self.until(4)

    def message(self):
        """Topic and body of the next message."""
        if not self.inbox:
            self.until(3)
        return self.inbox.pop(0)

    def close(self):
        """Say goodbye."""
        self.send(0xE0, b"")
        self.stream.close()

"""One MQTT connection, as the endpoints use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dps_simulator.common.http import Peer
from dps_simulator.protocols.mqtt import Publish


class MqttLink(Protocol):
    """One MQTT connection, as an endpoint uses it. Implemented in ``server``."""

    @property
    def peer(self) -> Peer:
        """Who is connected, and over what."""

    def accept(self) -> None:
        """Answer the CONNECT packet with CONNACK 0 (never with "session present")."""

    def refuse(self, return_code: int) -> None:
        """Answer the CONNECT packet with a return code from 1 to 5 and close."""

    def grant(self, packet_id: int, return_codes: list[int]) -> None:
        """Answer a SUBSCRIBE packet: one granted QoS (0 or 1) or 0x80 (refused) per filter."""

    def unsubscribed(self, packet_id: int) -> None:
        """Answer an UNSUBSCRIBE packet."""

    def acknowledge(self, message: Publish) -> None:
        """Answer a PUBLISH packet with PUBACK when its QoS is 1; nothing for QoS 0."""

    def publish(
        self, topic: str, payload: bytes, qos: int = 0, acknowledged: Callable[[], object] | None = None
    ) -> None:
        """Send a message to the client; with QoS 1, ``acknowledged`` is called when its PUBACK comes."""

    def close(self) -> None:
        """Send what is waiting, then close the connection."""

"""Who reads a hub's telemetry right now, partition by partition, and who has to make room for whom.

Source: Microsoft documentation, event-hubs-event-processor-host and event-hubs-quotas; the texts are those that the
service was seen to send, see :class:`~dps_simulator.errors.events.EventHubs`.
"""

from __future__ import annotations

from typing import Protocol

from dps_simulator.errors.table import EventHubs, ServiceError

from .telemetry import PARTITIONS

#: The only consumer group that there is, in lower case.
CONSUMER_GROUP = "$default"
#: Readers of one partition in one consumer group (documented).
MAX_READERS = 5


class Reader(Protocol):
    """Somebody who reads one partition.

    Attributes:
        epoch: its owner level, ``None`` for one who shares the partition.
    """

    epoch: int | None

    def wake(self) -> None:
        """There is something new to read."""

    def drop(self, error: ServiceError) -> None:
        """Make room for another one."""


class EventReaders:
    """The readers of one hub."""

    def __init__(self) -> None:
        self._readers: tuple[list[Reader], ...] = tuple([] for _ in range(PARTITIONS))

    def __len__(self) -> int:
        return sum(map(len, self._readers))

    def of(self, partition: int) -> list[Reader]:
        """The readers of a partition."""
        return list(self._readers[partition])

    def enter(self, partition: int, reader: Reader) -> None:
        """Let somebody read.

        One with an owner level has the partition alone; the highest level wins, and of two with the same the newer.

        Raises:
            ServiceError: another one has the partition, or there are too many.
        """
        present = self._readers[partition]
        owners = [each.epoch for each in present if each.epoch is not None]
        if reader.epoch is None:
            if owners:
                raise ServiceError(
                    EventHubs.RECEIVER_DISCONNECTED,
                    f"At least one receiver for the endpoint is created with epoch of '{max(owners)}', and so "
                    "non-epoch receiver is not allowed. Either reconnect with a higher epoch, or make sure all "
                    "epoch receivers are closed or disconnected.",
                )
            if len(present) >= MAX_READERS:
                raise ServiceError(
                    EventHubs.TOO_MANY_RECEIVERS,
                    "Exceeded the maximum number of allowed receivers per partition in a consumer group which is "
                    f"{MAX_READERS}. List of connected receivers - {', '.join(['nil'] * len(present))}.",
                )
        elif owners and max(owners) > reader.epoch:
            raise ServiceError(
                EventHubs.RECEIVER_DISCONNECTED,
                f"A receiver with a higher epoch '{max(owners)}' already exists. A new receiver with epoch "
                f"{reader.epoch} cannot be created. Make sure you are creating receiver with increasing epoch value "
                "to ensure connectivity, or ensure all old epoch receivers are closed or disconnected.",
            )
        else:
            for each in list(present):
                self._readers[partition].remove(each)
                each.drop(_taken_over(reader.epoch, each.epoch))
        present.append(reader)

    def leave(self, partition: int, reader: Reader) -> None:
        """Somebody reads no more, or never did."""
        if reader in self._readers[partition]:
            self._readers[partition].remove(reader)

    def wake(self, partition: int) -> None:
        """Tell everybody who reads a partition that there is something new."""
        for reader in self.of(partition):
            reader.wake()


def _taken_over(newer: int, older: int | None) -> ServiceError:
    return ServiceError(
        EventHubs.RECEIVER_DISCONNECTED,
        f"New receiver 'nil' with higher epoch of '{newer}' is created hence current receiver 'nil' with epoch "
        f"'{-1 if older is None else older}' is getting disconnected. If you are recreating the receiver, make sure a "
        "higher epoch is used.",
    )

"""How a connection ended, whatever it carried."""

from __future__ import annotations

from dataclasses import dataclass

#: Who ended a connection: the client, with a word of its protocol; the service; or what lies between them.
CLIENT, SERVICE, NETWORK = "client", "service", "network"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a connection ended.

    Attributes:
        by: :data:`CLIENT`, :data:`SERVICE` or :data:`NETWORK`. A client that goes without a word cannot be told from
            a cable that is cut.
        reason: why, where the service knows; empty else.
    """

    by: str
    reason: str = ""

    def told(self) -> dict[str, str]:
        """What goes into the trace."""
        return {"ended": self.by, **({"reason": self.reason} if self.reason else {})}


def ending(clean: bool) -> Ending:
    """The ending that is likely when nobody says more."""
    return Ending(CLIENT if clean else NETWORK)

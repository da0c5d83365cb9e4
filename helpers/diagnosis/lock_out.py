"""Refusals that somebody may have meant: what to ask before anything is repaired.

A device is locked out by disabling or deleting what admits it, or by changing a key or a certificate. What the device
then gets looks like a mistake, and advice that repairs it would let the thief in. So this advice begins with a
question, and tells whoever manages the service from whoever merely has the device.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The question, as a heading.
QUESTION = "First ask: was this meant?"
#: Who is locked out.
DEVICE, PROGRAM = "device", "program"
#: What there is to do for whoever has the device and does not manage the service.
ASK = "ask whoever manages the service, and change nothing before they answer"


@dataclass(frozen=True)
class LockOut:
    """How somebody locks a device out on purpose, and who may undo it if nobody meant it.

    Attributes:
        deed: what was done, as it goes on after "on purpose": ``by disabling its enrollment``.
        owner: what whoever manages the service does if it was not meant; begins in lower case, without a full stop.
        holder: what whoever has the device in hand does, likewise.
        who: who is locked out, :data:`DEVICE` or :data:`PROGRAM`.
    """

    deed: str
    owner: str
    holder: str = ASK
    who: str = DEVICE

    @property
    def answer(self) -> str:
        """What to do if it was meant, and when to read on."""
        return (
            f"If somebody locked this {self.who} out on purpose, this is the proof that it worked: leave it. "
            "Only if it is yours and should come in, go on."
        )

    @property
    def sides(self) -> tuple[str, str]:
        """What to do if it was not meant: where the service is managed, and at the device."""
        at = "at the device" if self.who == DEVICE else "in the program"
        return f"where you manage the service: {self.owner}.", f"{at}: {self.holder}."

    @property
    def advice(self) -> str:
        """All of it in one paragraph, the question first."""
        return " ".join(
            [
                QUESTION,
                self.answer.replace("on purpose", f"on purpose ({self.deed})"),
                *(side[0].upper() + side[1:] for side in self.sides),
            ]
        )

"""What DPS and hubs cost, as they were listed: every number with the day on which it was looked up, and where.

Prices change, and differ by region, currency and contract; Azure's own pages show them for yours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers.views.text import text_table

#: The day on which the numbers below were looked up, in copies of public pages that are older by an unknown time.
AS_OF = "2026-11-30"
DPS_PER_THOUSAND = 0.123
#: A list of prices in US dollars; several others have the same number.
DPS_SOURCE = "c3x.dev, azurerm_iothub_dps"
#: Where Azure shows the prices of today, of hubs and of DPS.
PAGE = "https://azure.microsoft.com/pricing/details/iot-hub/"
#: Operations of DPS in one round of the tracks, registrations and changes of enrollments, rounded up generously.
OPERATIONS_OF_THE_TRACKS = 1_000


@dataclass(frozen=True)
class Tier:
    """A kind of hub.

    Attributes:
        name: as the portal and the command line have it.
        dollars: for one unit, per month.
        messages: a day, for one unit.
        kilobytes: what counts as one message.
        remark: what to know before one takes it.
        source: where the price stood.
    """

    name: str
    dollars: float
    messages: int
    kilobytes: float
    remark: str
    source: str


_QUOTAS = "learn.microsoft.com, IoT Hub quotas and throttling (one free hub)"
TIERS: tuple[Tier, ...] = (
    Tier("F1", 0, 8_000, 0.5, "a subscription can have one", _QUOTAS),
    Tier(
        "B1",
        10,
        400_000,
        4,
        "no twins: the notebooks fail on it",
        "two fifths of S1, as 101.76 and 254.40 yuan on www.azure.cn; learn.microsoft.com, choose the right tier",
    ),
    Tier("S1", 25, 400_000, 4, "has everything that the notebooks need", "c3x.dev, azurerm_iothub"),
)


def price_list() -> str:
    """The prices as a table in text, with their day and their sources."""
    rows = [
        (each.name, f"{each.dollars:.0f}", f"{each.messages:,}", f"{each.kilobytes:g} KB", each.remark)
        for each in TIERS
    ]
    table = text_table(("hub", "USD a month", "messages a day", "one message", "to know"), rows)
    sources = "\n".join(f"  {each.name}: {each.source}" for each in TIERS)
    return (
        f"{table}\n\nDPS: USD {DPS_PER_THOUSAND} for 1,000 operations, and nothing while nobody registers.\n"
        f"As listed on {AS_OF}, for one unit, in US dollars; yours may differ by region, currency and contract.\n"
        f"Where it stood (messages and sizes: azure.microsoft.com, IoT Hub pricing):\n{sources}\n  DPS: {DPS_SOURCE}\n"
        f"Today's prices: {PAGE}"
    )


def estimate(tiers: Sequence[str]) -> str:
    """What hubs of these tiers and one round of the tracks cost, as sentences.

    Arguments:
        tiers: one for each hub.

    Raises:
        ValueError: a tier that is not in the list.
    """
    known = {each.name: each for each in TIERS}
    unknown = sorted(set(tiers) - set(known))
    if unknown:
        raise ValueError(f"No price is listed for {', '.join(unknown)}; the list has {', '.join(known)}.")
    monthly = sum(known[name].dollars for name in tiers)
    operations = OPERATIONS_OF_THE_TRACKS * DPS_PER_THOUSAND / 1_000
    return (
        f"Hubs ({', '.join(tiers)}): USD {monthly:.0f} a month. A thirtieth of it, for a day: USD {monthly / 30:.2f}.\n"
        f"DPS, one round of the tracks: about USD {operations:.2f}."
    )

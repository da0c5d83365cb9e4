"""Exercises of the first notebook: the names, and what a factory writes into a device."""

from __future__ import annotations

from helpers import checks

from . import answers

#: What a device knows before it has ever been switched on, by the letters of the list in the notebook.
_KNOWN = frozenset("acdf")
#: The other names of the table, and why each is not the answer.
_OTHER_NAMES = {
    "registration id": "By it, a DPS tells its devices apart. But first the device must get to the right DPS.",
    "device id": "The device ID is the device's name in its hub. It learns it only from DPS.",
    "hub": "Which hub it is, DPS tells the device, after the device has found DPS.",
    "attestation": "With it, a device proves who it is. It does not say whose DPS it wants.",
    "enrollment": "The enrollment lies in your DPS already. The device knows nothing of it.",
}


def your_dps(answer: object) -> None:
    """The name that leads a device to your DPS and not to somebody else's.

    Arguments:
        answer: one of the six names.
    """
    name = answers.word(answers.text(answer).replace("_", " "))
    checks.exercise(
        "which name leads a device to your DPS and not to somebody else's",
        name in ("id scope", "the id scope", "idscope"),
        hint="It is one of the six names in the table. All customers share one address: what tells them apart?",
        mistakes=[
            not name and "All customers share one address for their devices. What tells them apart?",
            _OTHER_NAMES.get(name),
            name.startswith("0ne")
            and "That is the value, and the right one to look at. What is it called in the box of step 2?",
        ],
    )


def factory_settings(answer: object) -> None:
    """What the factory writes into a device.

    Arguments:
        answer: letters of the list in the notebook.
    """
    letters = answers.letters(answer)
    checks.exercise(
        "what a device knows when it leaves the factory",
        letters == _KNOWN,
        hint="Write letters, such as 'ab'. Look at what create_from_symmetric_key was given in step 4.",
        mistakes=[
            not letters and "Write the letters of everything that the device must know, between the quotes.",
            letters - set("abcdefg") and "The list has the letters a to g.",
            "g" in letters
            and "Never g: with the service's key, whoever opens the device could enroll and delete all devices.",
            "b" in letters and "Not b: then the device could never move to another hub. DPS tells it its hub.",
            "e" in letters and "Not e: the device ID comes with the answer of DPS, as the hub does.",
            _KNOWN - letters and "Something is missing. Four things went into create_from_symmetric_key in step 4.",
        ],
    )

"""What the text of a notebook invites its reader to do works, also on a second run in the same workspace.

Each row is one invitation, under the very words by which the notebook gives it. When the words change, the row has to
be looked at again; and words that sound like an invitation must have a row, or be named in ``NOT_MEANT_SO``.
"""

import itertools
import re
from dataclasses import dataclass, field

import pytest
from one_kernel import FORGET, OneKernel, failures

from helpers.runner.documents import NOTEBOOKS, code_cells, find, read

pytestmark = [pytest.mark.notebooks, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Invitation:
    """Something that a reader is invited to do.

    Attributes:
        notebook: how its name starts.
        words: what the notebook says.
        parameters: what the reader writes into the settings.
        changes: what the reader changes in a cell: its id, what is replaced, and by what.
        after: what the reader does after a cell, in code: what a button does, or a cell run once more.
        alone: what is done after the notebook's last cell.
        shows: what must be seen in all of this.
    """

    notebook: str
    words: str
    parameters: dict = field(default_factory=dict)
    changes: tuple = ()
    after: dict = field(default_factory=dict)
    alone: str = ""
    shows: str = ""

    @property
    def path(self):
        return next(path for path in find() if path.name.startswith(self.notebook))


OWN_NAMES = "let each of them choose their own names"
#: As long as names can be here, with every character that is allowed, and in other cases than before. Of these only the
#: first is tried in the fast tier.
NAMES = {
    "11": [
        {"device_id": ""},
        {"registration_id": "Thermostat-001", "group_id": "Thermostats", "member_id": "THERMOSTAT-101"},
        {"registration_id": "a-._:" + "r" * 123, "group_id": "a-._:" + "G" * 117, "member_id": "a-._:" + "M" * 123},
        # names that the exercises use, and names that are the same in different places
        {"registration_id": "thermostat-102", "group_id": "thermostat-102", "member_id": "thermostat-103"},
        {"device_id": "a-:.%_*?!(),=@$'" + "d" * 112, "registration_id": "7"},
    ],
    "21": [
        {"device_id": ""},
        {
            "registration_id": "Pump-001",
            "group_id": "Pumps",
            "member_id": "PUMP-101",
            "authority_name": "Contoso-Pumps",
        },
        {
            "registration_id": "a-._:" + "r" * 59,
            "group_id": "a-._:" + "G" * 123,
            "member_id": "a-._:" + "M" * 59,
            "authority_name": "a" * 64,
        },
        {"registration_id": "pump-102", "group_id": "pump-102", "member_id": "pump-103", "device_id": "pump-102"},
    ],
    "31": [
        {"device_id": ""},
        {"registration_id": "Greenhouse-001", "device_id": ""},
        {"registration_id": "a-._:" + "r" * 123, "device_id": "a-:.%_*?!(),=@$'" + "d" * 112},
    ],
}
OWN_DEVICE_ID = "let each of them choose their own `device_id`"

INVITATIONS = [
    # 00
    Invitation("00", "Run All Cells", alone="dps = connect(target)\nprint(len(dps.hubs), 'hub')", shows="1 hub"),
    Invitation("00", "how the device names itself to DPS", parameters={"registration_id": "a-._:" + "r" * 120}),
    Invitation("00", "run the cell again", after={"environment": "checks.environment()"}),
    Invitation(
        "00",
        "Type a name of your own or keep the one that is there",
        after={"form": "form.fields['registration_id'].value = 'lamp-1'\nform._enroll_button.click()"},
        shows="lamp-1 belongs to contoso-hub-1",
    ),
    Invitation(
        "00",
        "If you pressed the button already, the device is enrolled, and nothing happens twice.",
        after={"form": "form._enroll_button.click()\nform._start_button.click()\nform._booting.join()"},
        shows="my-device belongs to contoso-hub-1",
    ),
    Invitation(
        "00",
        "Go back to the form, type another name, press both buttons, and watch: a new line appears by itself.",
        after={
            "devices": "form.fields['registration_id'].value = 'lamp-2'\nform._enroll_button.click()\n"
            "form._start_button.click()\nform._booting.join()\n"
            "checks.wait_until('the new line is there', lambda: 'lamp-2' in str(devices), hint='')"
        },
        shows="✓ passed: the new line is there",
    ),
    Invitation("00", "or call `devices.close()`", after={"devices": "devices.close()"}),
    Invitation(
        "00",
        "To enroll more later, run the cell of the form again, and afterwards this one.",
        alone="RUN form\nform.fields['registration_id'].value = 'lamp-3'\nform._enroll_button.click()\n"
        "RUN remove-own\nprint(devices)",
        shows="Nothing is enrolled as lamp-3.",
    ),
    Invitation(
        "00",
        "the table is empty: the end of this page has removed the devices",
        alone="print(devices, devices.is_live)",
        shows="(no devices) False",
    ),
    Invitation(
        "00",
        "until you write the right name and run the cell again",
        changes=(("exercise-1", '""', '"ID scope"'),),
        shows="✓ solved",
    ),
    # 02
    Invitation(
        "02",
        "write its address into the cell",
        changes=(("link", "OWNER/REPOSITORY", "contoso/course"), ("link", '"main"', '"june"')),
        shows="/contoso/course/june?",
    ),
    Invitation("02", "progress.summary()", after={"overview": "from helpers.course import progress\nprogress.summary()"}),
    Invitation(
        "02",
        "copied from the chat",
        changes=(("restore", "progress.line()", "pasted[0].partition(': ')[2]"),),
        shows="Through: ",
    ),
    Invitation("02", 'Set the parameter `reset` to `"yes"` and run the page again', parameters={"reset": "yes"}),
    # 11, 12, 13
    *[
        Invitation(notebook, OWN_NAMES, parameters=names)
        for names in NAMES["11"][:1]
        for notebook in ("11", "12", "13")
    ],
    *[
        Invitation(
            notebook,
            words,
            alone="RUN form\nform._enroll_button.click()\nprint('enrolled' if form.created else 'not enrolled')\nRUN "
            + clean_up,
            shows="\nenrolled",
        )
        for notebook, words, clean_up in (
            ("00", "Run the cell of the form again, and it is open.", "remove-own"),
            ("11", "Run its cell again, and it is open.", "close"),
        )
    ],
    Invitation(
        "11",
        "Try to break it: a blank in the name, one key instead of two, a brace less.",
        after={
            "form": "kept = {name: form.fields[name].value for name in form.fields}\n"
            "for name, value in {'group_id': 'a b', 'primary_key': 'AAAA', 'desired': '{'}.items():\n"
            "    form.fields[name].value = value\n    form._enroll_button.click()\n"
            "    print('sent' if form.created else 'not sent')\n    form.fields[name].value = kept[name]"
        },
        shows="not sent\nnot sent\nnot sent",
    ),
    Invitation("11", "if you pressed it already, this changes nothing", after={"form": "form._enroll_button.click()"}),
    Invitation(
        "11",
        'For a single device take `enrollment_form(service)`; with `attestation="x509"` or `attestation="tpm"` it asks',
        after={
            "form-twin": "for other in ({}, {'attestation': 'x509'}, {'attestation': 'tpm'}):\n"
            "    display(enrollment_form(service, **other))"
        },
        shows="Enroll one device with a TPM",
    ),
    Invitation(
        "11",
        "type another name into the form above (if it is closed, run its cell again), press *Enroll*, and a line",
        after={
            "enrollment-list": "form.fields['group_id'].value = 'lamps'\nform._enroll_button.click()\n"
            "checks.wait_until('the new line is there', lambda: 'lamps' in str(listed), hint='')"
        },
        shows="✓ passed: the new line is there",
    ),
    *[
        Invitation(
            "13",
            'you could write `{"targetTemperature": 22}` into it and press *Send the change*',
            after={cell: f"editor._change.value = {change!r}\neditor._send.click()\nprint(editor._message.value)"},
            shows="Sent.",
        )
        for cell in ("twin-editor", "change-twin", "report-twin")
        # the one of the text last: what it did wrong, it did from the second run on
        for change in ('{"fan": "on"}', '{"targetTemperature": null}', '{"targetTemperature": 22}')
        # what the checks at the end find wrong is wrong then
        if cell == "twin-editor" or "fan" in change
    ],
    Invitation(
        "13",
        'you could write `{"targetTemperature": 22}` into it and press *Send the change*',
        after={
            "report-twin": "editor._change.value = '{\"targetTemperature\": 22}'\neditor._send.click()\n"
            "RUN change-twin\nRUN report-twin"
        },
        shows="The device was told: 23",
    ),
    Invitation(
        "13",
        "if you run this cell again",
        after={"check-registry": "RUN connect-hub\nRUN check-connect\nRUN check-registry"},
    ),
    # 21, 22, 23
    Invitation(
        "21",
        "`certificates.create_signing_request(...)` and `line.sign(...)` play that through",
        after={"chain": "request = certificates.create_signing_request('pump-104')\nprint(line.sign(request))"},
        shows="Certificate of pump-104 (device), signed by Contoso Pumps Line 1",
    ),
    Invitation(
        "23", "use the button *Read again*", after={"device-table": "device_table(dps, only=device_ids)._again.click()"}
    ),
    # 31, 32, 33
    Invitation(
        "33",
        "run step 9 again, and it is found in `key` and `raw`",
        after={
            "exercise-1": "import base64\nkey = recipes.hub_key(dps, told.assigned_hub, told.device_id)\n"
            "raw = base64.b64decode(key.reveal())\nRUN search\ndel key, raw\nRUN search\nRUN check-steps"
        },
        shows="variable key, variable raw",
    ),
    Invitation(
        "33",
        "because swtpm was ended for example: close it, open it again, and go on",
        after={"renew-now": "tpm.close()\ntpm = open_tpm(tpm_kind, workspace.folder('tpm', dps))"},
    ),
    # 90
    Invitation(
        "90",
        '`progress.restore("the line")` takes it up again',
        after={"progress": "progress.restore(progress.line())"},
        shows="Your progress",
    ),
]
#: What takes longer: further names, many devices, many faults.
MORE_INVITATIONS = [
    Invitation("00", "how the device names itself to DPS", parameters={"registration_id": "First-Device"}),
    Invitation("00", "how the device names itself to DPS", parameters={"registration_id": "my-device"}),
    *[
        Invitation(notebook, words, parameters=names)
        for track, words in (("1", OWN_NAMES), ("2", OWN_NAMES), ("3", OWN_DEVICE_ID))
        for names in NAMES[f"{track}1"][track == "1" :]
        for notebook in (f"{track}1", f"{track}2", f"{track}3")
    ],
    *[
        Invitation(notebook, "embedded, swtpm, or a path such as /dev/tpmrm0", parameters={"tpm_kind": "swtpm"})
        for notebook in ("31", "32", "33")
    ],
    Invitation("41", "name of the enrollment group", parameters={"group_id": "a-._:" + "G" * 118}),
    Invitation(
        "41",
        "Weights go from 1 to 1000, and only their ratio matters",
        changes=(("weights", "{hubs[0]: 3, hubs[1]: 1}", "{hubs[0]: 1000, hubs[1]: 250}"),),
        shows="has weight 1000",
    ),
    Invitation(
        "42",
        "how the first device names itself to DPS",
        parameters={
            "registration_id": "A-._:" + "r" * 53,
            "group_id": "a-._:" + "G" * 123,
            "member_id": "A-._:" + "m" * 112,
        },
    ),
    Invitation("42", "how the first device names itself to DPS", parameters={"registration_id": "Kettle-001"}),
    Invitation(
        "51",
        "how the first device names itself to DPS",
        parameters={
            "registration_id": "A-._:" + "r" * 123,
            "group_id": "a-._:" + "G" * 112,
            "member_id": "A-._:" + "m" * 48,
        },
    ),
    Invitation("52", "name of the enrollment group", parameters={"group_id": "a-._:" + "G" * 118}),
]


def words_of(document):
    """All text and code of a notebook, with single blanks."""
    return " ".join(" ".join(cell.source.split()) for cell in document.cells)


def perform(kernel, invitation):
    """Run the notebook with what its reader was invited to do; gives the outcomes of all cells."""
    cells = {cell.id: cell.source for cell in code_cells(read(invitation.path))}
    for cell, old, new in invitation.changes:
        assert old in cells[cell], f"{cell} does not hold {old!r} any more"
        cells[cell] = cells[cell].replace(old, new)
    kernel.run(FORGET)
    after = {cell: _with_cells(lines, cells) for cell, lines in invitation.after.items()}
    assert not set(after) - set(cells)
    outcomes = kernel.run_notebook(invitation.path.stem, sources=cells, parameters=invitation.parameters, after=after)
    if invitation.alone:
        outcomes.append(kernel.run(_with_cells(invitation.alone, cells), "in the end"))
    return outcomes


def _with_cells(lines, cells):
    """Lines of a test, with the text of a cell for ``RUN its id``."""
    return re.sub(r"^RUN (\S+)$", lambda match: cells[match[1]], lines, flags=re.MULTILINE)


def track_of(invitation):
    return invitation.notebook[0]


def by_track(invitations):
    return [
        pytest.param(list(rows), id=f"track {track}")
        for track, rows in itertools.groupby(sorted(invitations, key=track_of), key=track_of)
    ]


def accept(invitations):
    with OneKernel() as kernel:
        # what one leaves in the workspace must not be in the way of the next
        for invitation in invitations:
            outcomes = perform(kernel, invitation)
            what = f"{invitation.notebook}: {invitation.words} {invitation.parameters or ''}"
            assert failures(outcomes) == [], what
            assert invitation.shows in "\n".join(each.shown for each in outcomes), what


@pytest.mark.anywhere
@pytest.mark.parametrize("invitations", by_track(INVITATIONS))
def test_what_the_text_invites_to_works(invitations):
    accept(invitations)


@pytest.mark.anywhere
@pytest.mark.parametrize("invitations", by_track(MORE_INVITATIONS))
def test_more_that_the_text_invites_to_works(invitations):
    accept(invitations)


@pytest.mark.parametrize("invitation", [*INVITATIONS, *MORE_INVITATIONS], ids=lambda each: each.notebook)
def test_the_text_still_invites_to_it(invitation):
    assert invitation.words in words_of(read(invitation.path)), "the text changed; look at the invitation again"


#: How an invitation sounds.
_SOUNDS = re.compile(
    r"(?i)\byou could\b|\bin the browser, try it\b|\btry to break it\b|\btype (?:a|another) name\b|\bgo back to the\b"
    r"|\brun (?:it|its cell|this cell|the cell(?: of the form)?|the page|step \d+|your line) again\b|\bor call `"
    r"|\bif you pressed\b|\bchoose their own\b|\bfor a single device take\b|\bpress both\b"
)
#: Words of that sound that invite to nothing that could go wrong, or to what a row does under other words.
NOT_MEANT_SO = {
    "In the browser, try it": "what to try follows after the colon",
    "Through the registry you could only *desire* a firmware": "it says what one could not do",
}


@pytest.mark.parametrize("path", [path for path in find() if code_cells(read(path))], ids=lambda path: path.stem)
def test_no_invitation_is_forgotten(path):
    known = [each.words for each in (*INVITATIONS, *MORE_INVITATIONS) if each.path == path]
    for cell in read(path).cells:
        if cell.cell_type != "markdown":
            continue
        text = " ".join(cell.source.split())
        covered = [span for words in (*known, *NOT_MEANT_SO) for span in _places(words, text)]
        for match in _SOUNDS.finditer(text):
            around = text[max(match.start() - 40, 0) : match.end() + 80]
            assert any(begin <= match.start() and match.end() <= end for begin, end in covered), (
                f"{path.stem}, {cell.id}: nothing tries what the text invites to: …{around}…"
            )


def _places(words, text):
    return [match.span() for match in re.finditer(re.escape(words), text)]


def test_an_invitation_that_does_not_work_is_seen():
    spoilt = Invitation(
        "12", OWN_NAMES, changes=(("told-individual", "kitchen_state.device_id", "kitchen_state.nothing"),)
    )
    with pytest.raises(AssertionError, match="told-individual: AttributeError"):
        accept([spoilt])
    assert (NOTEBOOKS / "12_symmetric_key_start.ipynb").is_file()

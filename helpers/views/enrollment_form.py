"""A form to enroll a device or a group, beside it the JSON that it sends."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from helpers import workspace
from helpers.credentials import Secret
from helpers.masking import masked

from . import enrollment_document as documents
from .enrollment_document import ALLOCATIONS, FIELDS, Document, FormError
from .message import Interactive, button, reason, side_by_side, status, status_html
from .text import Row, Table, text_table

#: Boots a device: gets its registration ID and its key (``None`` where it has none), and says how that went.
Start = Callable[[str, "Secret | None"], str]

#: Kinds of claims in the workspace, as the clean-up knows them.
_CLAIMS = {"individual": "individual enrollment", "group": "enrollment group"}
_PROOFS = {"symmetricKey": "a symmetric key", "x509": "a certificate", "tpm": "a TPM"}
#: Seconds that closing waits for a device that is still booting.
PATIENCE = 60.0
#: A frame around what is typed into a field that is marked; the words below it say the same without colour.
_MARKED = "dps-form-marked"
_MARKS = (
    f"<style>.{_MARKED} input, .{_MARKED} textarea {{ box-shadow: 0 0 0 2px var(--jp-error-color1, #d32f2f) }}</style>"
)
#: Beyond so many characters, a field shows only a part of what is in it.
_SEEN = 24
_SENDS = "Sends the JSON to the provisioning service"
_CLOSED = "This form is closed: what it made was cleaned up. To enroll again, run the cell that shows the form again."


class EnrollmentForm(Interactive):
    """A form for an enrollment, the JSON of what is in it, and buttons to send it and to boot the device.

    Arguments:
        service: the official ``DeviceProvisioningClient``.
        kind: ``individual`` or ``group``.
        attestation: ``symmetricKey``, ``x509`` or ``tpm``.
        start: boots the device: gets its registration ID and its key, and returns what to show. With it, the form has
            a second button.
        registration_id: what the field holds at first; individual enrollments only.
        group_id: the same for groups.
        device_id: the same; individual enrollments only.
        desired: first desired properties, at first.
        dps: the target. With it, what the form makes is noted in the workspace, and cleaned up later.

    Raises:
        ValueError: there is no such enrollment.
    """

    def __init__(
        self,
        service: Any,
        *,
        kind: str = "individual",
        attestation: str = "symmetricKey",
        start: Start | None = None,
        registration_id: str = "",
        group_id: str = "",
        device_id: str = "",
        desired: Mapping[str, Any] | None = None,
        dps: Any = None,
    ) -> None:
        documents.check_kind(kind, attestation)
        if start is not None and kind == "group":
            raise ValueError(
                "A group is no device and cannot boot; give start to the form of an individual enrollment."
            )
        self.kind = kind
        self.attestation = attestation
        #: What the service answered to the last enrollment, keys wrapped; ``None`` when there is none.
        self.created: Document | None = None
        #: Names of everything that this form enrolled.
        self.names: list[str] = []
        #: Device IDs of every device that this form enrolled.
        self.device_ids: list[str] = []
        self._service = service
        self._start = start
        self._dps = dps
        self._sent: Document | None = None
        self._booting: threading.Thread | None = None
        self._closed = False
        values = {"registration_id": registration_id, "group_id": group_id, "device_id": device_id}
        values["desired"] = json.dumps(desired, ensure_ascii=False) if desired else ""
        #: The controls by their names, for code that fills them in.
        self.fields: dict[str, Any] = {
            name: _control(name, values.get(name, "")) for name in documents.fields(kind, attestation)
        }
        self._preview = ipywidgets.HTML()
        self._message = status(max_width="27em")
        self._enroll_button = button("Enroll", _SENDS, self._enroll_clicked, button_style="primary")
        boots = "Boots the device, once it is enrolled"
        self._start_button = button("Start the device", boots, self._start_clicked, disabled=True)
        #: What is wrong with a field, below it.
        self.marks: dict[str, Any] = {name: ipywidgets.HTML() for name in self.fields}
        #: Why the first button is switched off.
        self._why = status(margin="2px 0 2px .5em")
        for control in self.fields.values():
            control.observe(self._typed, names="value")
        self._typed({})
        self.widget = self._arranged()

    @property
    def name(self) -> str:
        """The registration ID, or the name of the group, as it stands in the form, checked by nobody yet."""
        return str(self.fields["registration_id" if self.kind == "individual" else "group_id"].value).strip()

    @property
    def document(self) -> Document:
        """What will be sent. Keys in it are wrapped as ``Secret``.

        Raises:
            FormError: everything in the form that cannot be sent.
        """
        return documents.build(
            self.kind, self.attestation, {name: control.value for name, control in self.fields.items()}
        )

    def enroll(self) -> Document:
        """Send what is in the form, as the button does; when the form has just done it, nothing is done twice.

        Returns:
            What the service answered, keys wrapped.

        Raises:
            FormError: something in the form cannot be sent, the name is taken, or the form is closed.
            HttpResponseError: the service refused.
        """
        self._check_open()
        document = self.document
        collection = self._service.enrollment if self.kind == "individual" else self._service.enrollment_group
        name = self.name
        claimed = self._claim(name)
        try:
            answer = collection.create_or_update(name, documents.revealed(document))
        except HttpResponseError as problem:
            if isinstance(problem, ResourceExistsError) and self._did_it(collection, name, document):
                return self.created or {}
            if claimed and problem.status_code is not None and 400 <= problem.status_code < 500:
                # nothing was made, and what is there under this name is somebody else's
                workspace.release(self._dps, _CLAIMS[self.kind], name)
            if isinstance(problem, ResourceExistsError):
                raise FormError(
                    [f"{name!r} is enrolled already (409). Choose another name, or remove it first."]
                ) from problem
            raise
        self._sent, self.created = document, documents.guarded(answer)
        _remember(self.names, name)
        if self.kind == "individual":
            _remember(self.device_ids, str(answer.get("deviceId") or name))
        self._start_button.disabled = self._start is None
        return self.created

    def start_device(self) -> str:
        """Boot the device, as the button does.

        Returns:
            What ``start`` says.

        Raises:
            FormError: nothing is enrolled yet, the form has no ``start``, or it is closed.
        """
        self._check_open()
        if self._start is None:
            raise FormError(["This form cannot boot a device: it was made without start."])
        if self.created is None:
            raise FormError(["Nothing is enrolled yet; press Enroll first."])
        keys = self.created.get("attestation", {}).get("symmetricKey") or {}
        return str(self._start(str(self.created["registrationId"]), keys.get("primaryKey")))

    def close(self) -> None:
        """Wait for a device that is still booting, forget what was enrolled, and switch the form off for good.

        Closing twice is fine. Whoever wants to enroll again makes a new form.
        """
        if self._booting is not None and self._booting is not threading.current_thread():
            self._booting.join(PATIENCE)
            self._booting = None
        self.created = self._sent = None
        if self._closed:
            return
        self._closed = True
        self._enroll_button.on_click(self._enroll_clicked, remove=True)
        self._start_button.on_click(self._start_clicked, remove=True)
        for name, control in self.fields.items():
            control.unobserve(self._typed, names="value")
            control.disabled = True
            self._mark(name, ())
        self._enroll_button.disabled = self._start_button.disabled = True
        self._enroll_button.tooltip = self._start_button.tooltip = _CLOSED
        self._why.value = status_html("")
        self._message.value = status_html(_CLOSED)
        self._preview.value = self._preview_html()

    @property
    def title(self) -> str:
        """What can be enrolled with it and by which proof; the heading of both forms."""
        what = "one device" if self.kind == "individual" else "a group of devices"
        return f"Enroll {what} with {_PROOFS[self.attestation]}"

    @property
    def rows(self) -> list[Row]:
        """Labels and what is in the fields: keys masked, private keys left out, long texts by their first line."""
        return [(FIELDS[name].label, _shown(name, control.value)) for name, control in self.fields.items()]

    def text(self) -> str:
        """What will be sent, as JSON with keys masked, or what is wrong."""
        try:
            return json.dumps(self.document, indent=2, default=str, ensure_ascii=False)
        except FormError as problem:
            return f"Not ready:\n{problem}"

    def __str__(self) -> str:
        return f"{self.title}\n{text_table(('field', 'value'), self.rows)}\n\nThis will be sent:\n{self.text()}"

    def html(self) -> str:
        """What is in the fields, keys masked, and the JSON of it; nothing in it can be filled in."""
        return Table(self.title, ("field", "value"), self.rows).html() + self._preview_html()

    def _arranged(self) -> Any:
        buttons = [self._enroll_button, *([self._start_button] if self._start else [])]
        column = [part for name, control in self.fields.items() for part in (control, self.marks[name])]
        column += [side_by_side(*buttons, self._why), self._message]
        left = ipywidgets.VBox(column, layout={"max_width": "28em"})
        right = ipywidgets.VBox([self._preview], layout={"max_width": "34em", "margin": "0 0 0 1.5em"})
        title = ipywidgets.HTML(value=f"{_MARKS}<strong>{escape(self.title)}</strong>")
        return ipywidgets.VBox([title, side_by_side(left, right)])

    def _preview_html(self) -> str:
        # a name may be as long as 128 characters without a blank
        style = "white-space:pre-wrap; overflow-wrap:anywhere; line-height:1.35; color:inherit; background:none"
        says = "Nothing will be sent any more:" if self._closed else "This will be sent:"
        body = f'<p>{says}</p><pre style="{style}">{escape(self.text())}</pre>'
        return f'<section aria-label="What will be sent">{body}</section>'

    def _typed(self, _change: Mapping[str, Any]) -> None:
        self._preview.value = self._preview_html()
        wrong: Mapping[str, Sequence[str]] = {}
        try:
            _ = self.document
        except FormError as problem:
            wrong = problem.by_field
        for name in self.fields:
            self._mark(name, wrong.get(name, ()))
        self._enroll_button.disabled = bool(wrong)
        self._enroll_button.tooltip = "Not ready: see the marked fields" if wrong else _SENDS
        which = "field" if len(wrong) == 1 else f"{len(wrong)} fields"
        self._why.value = status_html(f"Enroll is switched off: see the {which} marked ✗." if wrong else "")

    def _mark(self, name: str, problems: Sequence[str]) -> None:
        """Show what is wrong with a field beside it, or that nothing is."""
        control, mark = self.fields[name], self.marks[name]
        text = " ".join(problems)
        is_long = _is_name(name) and len(control.value) > _SEEN
        control.tooltip = "\n".join(filter(None, [text, FIELDS[name].hint, control.value if is_long else ""]))
        (control.add_class if problems else control.remove_class)(_MARKED)
        style = "margin:0 0 4px 10.5em; max-width:24em; line-height:1.35; overflow-wrap:anywhere"
        mark.value = f'<div style="{style}">✗ {escape(masked(text))}</div>' if problems else ""
        mark.layout.display = None if problems else "none"

    def _check_open(self) -> None:
        if self._closed:
            raise FormError([_CLOSED])

    def _say(self, text: str) -> None:
        # a device that still boots when the form is closed has nothing to add
        if not self._closed:
            super()._say(text)

    def _enroll_clicked(self, _button: Any) -> None:
        # an exception in a callback is visible nowhere, so it is shown here
        try:
            self.enroll()
        except FormError as problem:
            self._say(f"Not sent.\n{problem}" if len(problem.problems) > 1 else str(problem))
        except Exception as problem:
            self._say(f"Not enrolled: {reason(problem)}")
        else:
            then = " Now you can start the device." if self._start else ""
            self._say(f"Enrolled: {self.name}.{then}")

    def _start_clicked(self, _button: Any) -> None:
        if self._booting is not None and self._booting.is_alive():
            return
        self._start_button.disabled = True
        self._say("The device boots and asks DPS for its hub …")
        self._booting = threading.Thread(target=self._boot, name="device of a form", daemon=True)
        self._booting.start()

    def _boot(self) -> None:
        """What the second button does, in a thread, so that the page stays alive."""
        try:
            self._say(self.start_device())
        except Exception as problem:
            self._say(f"The device did not get through: {reason(problem)}")
        finally:
            self._start_button.disabled = self.created is None

    def _claim(self, name: str) -> bool:
        """Note in the workspace that this will be made; gives whether that was not noted before."""
        if self._dps is None or (_CLAIMS[self.kind], name) in workspace.claimed(self._dps):
            return False
        workspace.claim(self._dps, _CLAIMS[self.kind], name)
        return True

    def _did_it(self, collection: Any, name: str, document: Document) -> bool:
        """Whether what the service has is what this form made of the same JSON."""
        if self.created is None or document != self._sent:
            return False
        try:
            return bool(collection.get(name).get("etag") == self.created.get("etag"))
        except ResourceNotFoundError:  # gone between two requests
            return False


enrollment_form = EnrollmentForm


def _control(name: str, value: str) -> Any:
    """The control for a field, with label, explanation and first value."""
    field = FIELDS[name]
    common: dict[str, Any] = {
        "description": field.label,
        "tooltip": field.hint,
        "style": {"description_width": "9.5em"},
        "layout": {"width": "27em", "max_width": "95%"},
    }
    if name == "enabled":
        return ipywidgets.Checkbox(value=True, **common)
    if name == "allocation":
        return ipywidgets.Dropdown(options=list(ALLOCATIONS.items()), value="", **common)
    common |= {"placeholder": field.empty, "value": value}
    if field.lines > 1:
        return ipywidgets.Textarea(rows=field.lines, **common)
    return (ipywidgets.Password if field.secret else ipywidgets.Text)(**common)


def _is_name(name: str) -> bool:
    return FIELDS[name].lines == 1 and not FIELDS[name].secret


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name == "allocation":
        return next(words for words, policy in ALLOCATIONS.items() if policy == value)
    text = str(value).strip()
    if FIELDS[name].secret:
        return str(Secret(text)) if text else "(empty: DPS makes it)"
    if "PRIVATE KEY" in text:
        return "(a private key, which is not shown)"
    if _is_name(name):
        return text or "(empty)"
    lines = text.splitlines()
    return (lines[0][:60] + (" …" if len(lines) > 1 or len(lines[0]) > 60 else "")) if lines else "(empty)"


def _remember(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)

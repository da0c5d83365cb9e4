"""The twin of a device, and a field to write what is desired of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

import ipywidgets

from helpers.target.registry import twin_patch

from .json_text import JsonTextError, json_object
from .message import Interactive, button, reason, side_by_side, status, status_html
from .text import Row, Table

_COLUMNS = ("property", "desired", "reported")
_FIELD = "Desired change"
_EXAMPLE = '{"targetTemperature": 22}'
_CLOSED = "This form is closed. To change the twin again, run the cell that shows the form again."


class TwinEditor(Interactive):
    """Tags, desired and reported properties of one device, and a way to change what is desired.

    Arguments:
        dps: the target, from ``connect(...)``.
        device_id: the device's name in the hub.
        hub: host name of its hub.

    Raises:
        Exception: whatever the registry raises when the twin is read.
    """

    def __init__(self, dps: Any, device_id: str, hub: str) -> None:
        self._message = status()
        self.device_id = device_id
        self.hub = hub
        #: What stands in the twin, as it was read last.
        self.tags: dict[str, Any] = {}
        self.desired: dict[str, Any] = {}
        self.reported: dict[str, Any] = {}
        self._dps = dps
        self.read()
        self._table = ipywidgets.HTML(value=self.html())
        self._change = ipywidgets.Textarea(
            value="",
            description=_FIELD,
            placeholder=_EXAMPLE,
            tooltip="A JSON object. What it names is changed, null removes a property, everything else stays.",
            rows=3,
            style={"description_width": "9.5em"},
            layout={"width": "30em", "max_width": "95%"},
        )
        self._send = button("Send the change", "Changes the twin in the hub's registry", self._send_clicked)
        self._read_twin = button("Read the twin", "Reads the twin from the registry again", self._read_clicked)
        self._why = status(margin="2px 0 2px .5em")
        self._closed = False
        self._change.observe(self._typed, names="value")
        buttons = side_by_side(self._send, self._read_twin, self._why)
        self.widget = ipywidgets.VBox([self._table, self._change, buttons, self._message])
        self._typed({})

    @property
    def title(self) -> str:
        """The heading of both forms, with the device ID."""
        return f"Twin of {self.device_id}"

    @property
    def rows(self) -> list[Row]:
        """Each property by name, with what is desired and what the device reports, as JSON; a dash for nothing."""
        names = sorted({*self.desired, *self.reported})
        return [(name, _value(self.desired, name), _value(self.reported, name)) for name in names]

    def read(self) -> None:
        """Read the twin from the registry.

        Raises:
            Exception: whatever the registry raises; what was read before then stays.
        """
        self._take(self._dps.registry(self.hub).get_twin(self.device_id))

    def change(self, desired: Mapping[str, Any]) -> None:
        """Change desired properties, as the button does.

        Arguments:
            desired: what to change; ``None`` as a value removes the property.

        Raises:
            JsonTextError: this is no change that a twin can take.
            Exception: whatever the registry raises.
        """
        try:
            text = json.dumps(desired)
        except (TypeError, ValueError, RecursionError):
            raise JsonTextError(
                f"{_FIELD} holds something that JSON does not know; use text, numbers and so on."
            ) from None
        self._update(json_object(text, field=_FIELD))

    def close(self) -> None:
        """Switch the form off for good; the twin is shown as it was read last. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._send.on_click(self._send_clicked, remove=True)
        self._read_twin.on_click(self._read_clicked, remove=True)
        self._change.unobserve(self._typed, names="value")
        for part in (self._change, self._send, self._read_twin):
            part.disabled = True
            part.tooltip = _CLOSED
        self._why.value = status_html("")
        self._say(_CLOSED)

    def _shown(self) -> Table:
        return Table(self.title, _COLUMNS, self.rows, empty="(no properties)")

    def __str__(self) -> str:
        return f"{self._shown()}\n{self._tags()}"

    def html(self) -> str:
        """Properties and tags as they were read last, without the controls."""
        return f"{self._shown().html()}<p>{escape(self._tags())}</p>"

    def _tags(self) -> str:
        return f"Tags, which the device does not see: {_json(self.tags) if self.tags else 'none'}"

    def _update(self, desired: Mapping[str, Any]) -> None:
        _checked(desired)
        self._take(self._dps.registry(self.hub).update_twin(self.device_id, twin_patch(desired=desired)))
        self._table.value = self.html()

    def _take(self, twin: Any) -> None:
        properties = twin.properties
        self.tags = _own(twin.tags)
        self.desired = _own(properties.desired if properties else None)
        self.reported = _own(properties.reported if properties else None)

    def _typed(self, _change: Mapping[str, Any]) -> None:
        """Switch the button on as soon as there is a change to send, and say why it is off."""
        text = self._change.value.strip()
        why = "" if text else f"Nothing to send yet: write a change, such as {_EXAMPLE}."
        try:
            if text:
                _checked(json_object(text, field=_FIELD))
        except JsonTextError as problem:
            why = f"✗ {problem}"
        self._send.disabled = bool(why)
        self._why.value = status_html(why)

    def _send_clicked(self, _button: Any) -> None:
        # an exception in a callback is visible nowhere, so it is shown here
        try:
            self._update(json_object(self._change.value, field=_FIELD))
        except JsonTextError as problem:
            self._say(f"Not sent. {problem}")
        except Exception as problem:
            self._say(f"Not changed: {reason(problem)}")
        else:
            self._say("Sent. The device hears of it as soon as it is connected.")

    def _read_clicked(self, _button: Any) -> None:
        try:
            self.read()
        except Exception as problem:
            self._say(f"Reading failed: {reason(problem)}")
            return
        self._table.value = self.html()
        self._say("Read again.")


twin_editor = TwinEditor


def _checked(desired: Mapping[str, Any]) -> None:
    if not desired:
        raise JsonTextError(f"{_FIELD} is an empty object, so nothing would change; write for example {_EXAMPLE}.")


def _own(properties: Any) -> dict[str, Any]:
    """The properties without what the hub notes about them, such as ``$version``."""
    return {str(name): value for name, value in (properties or {}).items() if not str(name).startswith("$")}


def _value(properties: Mapping[str, Any], name: str) -> str:
    return _json(properties[name]) if name in properties else "–"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)

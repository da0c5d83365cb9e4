"""The twin editor: it shows the twin, changes what is desired, and says what is wrong with a change."""

import types

import pytest

from helpers import workspace
from helpers.views import twin_editor
from helpers.views.json_text import JsonTextError


class Registry:
    """As much of a registry as the editor needs, with one twin."""

    def __init__(self):
        self.desired = {"$metadata": {}, "$version": 2, "temperature": 21, "room": {"b": 1, "a": "<x>"}}
        self.reported = {"$version": 1, "firmware": "1.0", "temperature": 20}
        self.tags = {"floor": 1}
        self.problem = None

    def get_twin(self, device_id):
        if self.problem:
            raise self.problem
        properties = types.SimpleNamespace(desired=self.desired, reported=self.reported)
        return types.SimpleNamespace(tags=self.tags, properties=properties)

    def update_twin(self, device_id, patch):
        found = patch.properties.desired
        self.desired = {name: value for name, value in {**self.desired, **found}.items() if value is not None}
        return self.get_twin(device_id)


@pytest.fixture
def registry():
    return Registry()


@pytest.fixture
def editor(registry):
    return twin_editor(types.SimpleNamespace(registry=lambda hub: registry), "pump", "hub-1")


def parts(editor):
    table, change, buttons, message = editor.widget.children
    return table, change, *buttons.children[:2], message


def test_it_shows_the_same_as_text_html_and_widget(editor):
    assert str(editor) == repr(editor)
    assert str(editor).splitlines() == [
        "Twin of pump",
        "property     desired               reported",
        "-----------  --------------------  --------",
        'firmware     –                     "1.0"',
        'room         {"a": "<x>", "b": 1}  –',
        "temperature  21                    20",
        'Tags, which the device does not see: {"floor": 1}',
    ]
    data, metadata = editor._repr_mimebundle_()
    assert data["text/plain"] == str(editor)
    assert data["text/html"] == editor.html() == parts(editor)[0].value
    assert "&lt;x&gt;" in editor.html()
    assert isinstance(metadata, dict)
    assert editor.widget is editor.widget


def test_an_empty_twin_is_no_problem(registry):
    registry.tags = None
    registry.get_twin = lambda device_id: types.SimpleNamespace(tags=None, properties=None)
    editor = twin_editor(types.SimpleNamespace(registry=lambda hub: registry), "pump", "hub-1")
    assert str(editor) == "Twin of pump\n(no properties)\nTags, which the device does not see: none"


def test_controls_have_labels(editor):
    controls = parts(editor)[1:4]
    assert [each.description for each in controls] == ["Desired change", "Send the change", "Read the twin"]
    assert all(each.tooltip for each in controls)


def test_the_button_changes_the_twin(editor, registry):
    table, change, send, _, message = parts(editor)
    change.value = '{"temperature": 23, "room": null}'
    send.click()
    assert registry.desired["temperature"] == 23
    assert "Sent." in message.value
    assert 'role="status"' in message.value
    assert ">23<" in table.value
    assert "room" not in editor.desired


@pytest.mark.parametrize(
    ("typed", "says"),
    [("", "it is empty"), ("[1]", "is a list"), ("{'a': 1}", "double quotes"), ("{}", "empty object")],
)
def test_what_is_wrong_is_said_and_nothing_is_lost(editor, registry, typed, says):
    _, change, send, _, message = parts(editor)
    before = registry.desired
    change.value = typed
    send.click()
    assert "Not sent. Desired change" in message.value
    assert says in message.value
    assert change.value == typed
    assert registry.desired is before


def test_errors_of_the_registry_are_shown(editor, registry):
    table, change, send, read, message = parts(editor)
    registry.problem = OSError("<gone>")
    before = table.value
    change.value = '{"a": 1}'
    send.click()
    assert "Not changed: OSError: &lt;gone&gt;" in message.value
    read.click()
    assert "Reading failed: OSError: &lt;gone&gt;" in message.value
    assert table.value == before
    with pytest.raises(OSError, match="gone"):
        editor.read()


def test_the_twin_can_be_read_again(editor, registry):
    table, _, _, read, message = parts(editor)
    registry.reported = {"firmware": "2.0"}
    read.click()
    assert "2.0" in table.value
    assert "Read again." in message.value


def test_code_can_change_it_as_well(editor, registry):
    editor.change({"temperature": 19})
    assert registry.desired["temperature"] == 19
    for nonsense in ({"a": object()}, {"a": float("nan")}, [1], {}, {"a.b": 1}, None):
        with pytest.raises(JsonTextError, match=r"Desired change|no JSON value"):
            editor.change(nonsense)
    editor.close()
    editor.change({"temperature": 18})
    assert editor.desired["temperature"] == 18


@pytest.mark.sdk
def test_against_a_hub(dps, names):
    known = workspace.need("symmetric_key.registrations", dps, **names)["individual"]
    editor = twin_editor(dps, known["device_id"], known["hub"])
    assert editor.rows == [("targetTemperature", "21", "–")]
    assert editor.tags == {"room": "kitchen"}
    editor.change({"targetTemperature": None, "mode": "eco"})
    assert editor.rows == [("mode", '"eco"', "–")]
    editor.read()
    assert editor.rows == [("mode", '"eco"', "–")]


def test_the_button_is_off_until_there_is_a_change_and_says_why(editor, registry):
    _, change, send, _, _ = parts(editor)
    why = editor.widget.children[2].children[2]
    assert send.disabled
    assert "Nothing to send yet" in why.value
    for wrong in ("{", "[]", "{}", "{'a': 1}"):
        change.value = wrong
        assert send.disabled
        assert "✗ Desired change" in why.value
    change.value = '{"a": 1}'
    assert not send.disabled
    assert "✗" not in why.value


def test_after_closing_nothing_is_sent_and_it_says_so(editor, registry):
    _, change, send, read, message = parts(editor)
    change.value = '{"a": 1}'
    before = editor.desired
    editor.close()
    editor.close()
    assert "This form is closed." in message.value
    for button in (send, read):
        assert button.disabled
        button.click()
    change.value = '{"a": 2}'
    assert send.disabled
    assert editor.desired == before
    assert "This form is closed." in message.value

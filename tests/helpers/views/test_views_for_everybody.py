"""Every view can be read and used by everybody: labels, explanations, heads of tables, pictures with names."""

import types

import ipywidgets
import pytest

from helpers import certificates, views
from helpers.runner.accessibility import faults
from helpers.views.explorer import Entry, Explorer
from helpers.views.progress_view import ProgressView, Sentence, Table
from helpers.views.sequence import SequenceDiagram, Step

SECRET_FREE = types.SimpleNamespace(enrollment=None, enrollment_group=None)


def twin(_device_id):
    properties = types.SimpleNamespace(desired={"heat": 21}, reported={"heat": 20})
    return types.SimpleNamespace(tags={"floor": 1}, properties=properties)


def hubs(**methods):
    registry = types.SimpleNamespace(get_twin=twin, get_devices=list, **methods)
    return types.SimpleNamespace(
        hubs=["hub-1"], registry=lambda hub: registry, events=lambda **_: [], is_simulator=True
    )


def no_enrollments():
    queries = types.SimpleNamespace(query=lambda query: iter(()))
    return types.SimpleNamespace(enrollment=queries, enrollment_group=queries)


def form(kind, attestation, start=None):
    return views.enrollment_form(SECRET_FREE, kind=kind, attestation=attestation, start=start)


VIEWS = {
    "form for a device": lambda: form("individual", "symmetricKey", start=lambda name, key: ""),
    "form for a certificate": lambda: form("individual", "x509"),
    "form for a TPM": lambda: form("individual", "tpm"),
    "form for a group": lambda: form("group", "symmetricKey"),
    "form for a group with certificates": lambda: form("group", "x509"),
    "explorer": lambda: Explorer("Things", ("a", "b"), lambda: [Entry("x", ("x", "<y>"), {"more": "<z>"})]),
    "device table": lambda: views.device_table(hubs()),
    "enrollment list": lambda: views.enrollment_list(no_enrollments()),
    "twin editor": lambda: views.twin_editor(hubs(), "pump", "hub-1"),
    "fleet progress": lambda: views.fleet_progress(3, "Boot"),
    "progress": lambda: ProgressView("Progress", [Table("T", ("a",), [("1",)]), Sentence("Copy:", "line")]),
    "overview": views.overview,
    "sequence": lambda: views.sequence(hubs(), title="Nothing yet"),
    "sequence with a refusal": lambda: SequenceDiagram("No", [Step("Device", "DPS", "refused <401>", failed=True)]),
    "timeline": lambda: views.timeline(hubs(), title="Nothing yet"),
    "distribution": lambda: views.distribution({"static": ["hub-1", "hub-2"]}, title="Shares"),
    "histogram": lambda: views.histogram([1.0, 2.0, 2.5], title="Times", unit="s"),
    "chain of trust": lambda: views.chain_of_trust(certificates.create_root("Root").issue_device("pump")),
}


@pytest.fixture(params=VIEWS)
def view(request):
    shown = VIEWS[request.param]()
    yield shown
    getattr(shown, "close", lambda: None)()


def parts(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from parts(child)


def html_of(view):
    bundle = view._repr_mimebundle_() if hasattr(view, "_repr_mimebundle_") else {"text/html": view._repr_html_()}
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    return data.get("text/html", "")


def test_html_is_readable_by_all(view):
    assert faults(html_of(view)) == []


def test_there_is_a_text_form_with_the_title(view):
    assert len(str(view).splitlines()) >= 1
    assert "<ipywidgets" not in str(view)
    assert not str(view).startswith("<")


def test_every_control_has_a_label_and_an_explanation(view):
    for part in parts(getattr(view, "widget", None)):
        if isinstance(part, ipywidgets.HTML):
            assert faults(part.value) == []
        elif part is not None and not isinstance(part, ipywidgets.Box):
            assert part.description, part
            assert part.tooltip, part.description


def test_labels_are_not_given_twice_in_a_view(view):
    labels = [
        part.description
        for part in parts(getattr(view, "widget", None))
        if part is not None and not isinstance(part, ipywidgets.HTML | ipywidgets.Box)
    ]
    assert len(labels) == len(set(labels))


def test_no_view_is_forgotten(request):
    """Whoever adds a view to the notebooks adds it here, too."""
    text = request.path.read_text(encoding="utf-8")
    for name in views.__all__:
        assert f"views.{name}" in text, name

"""The picture of a chain of trust, and the same as text."""

from xml.etree import ElementTree

import pytest
import wrong_certificates

from helpers import certificates
from helpers.views import chain_of_trust
from helpers.views.picture import width_of


@pytest.fixture(scope="module")
def device():
    root = certificates.create_root("Root <of> all & everything")
    return root.issue_intermediate("Line 1").issue_device("pump-101")


def words(view):
    return [element.text for element in ElementTree.fromstring(view.svg()).iter() if element.text]  # noqa: S314


def test_text_from_the_root_down(device):
    view = chain_of_trust(device, marks={"Line 1": "enrolled as group"}, title="Why it may come in")
    assert str(view).splitlines() == [
        "Why it may come in",
        "Root <of> all & everything (root: signs itself)",
        "└─ Line 1 (intermediate authority) - enrolled as group",
        "   └─ pump-101 (device)",
    ]
    assert repr(view) == str(view)


def test_the_picture_says_the_same(device):
    view = chain_of_trust(device, marks={"Line 1": "enrolled as group"})
    said = words(view)
    assert said[0] == "Chain of trust"
    assert "Line 1 (intermediate authority) - enrolled as group." in said[1]
    assert said.count("signs") == 2
    assert {"Root <of> all & everything", "Line 1", "pump-101", "enrolled as group"} <= set(said)
    assert "<script" not in view.html()


def test_it_is_readable_on_light_and_dark_pages_and_has_a_description(device):
    picture = ElementTree.fromstring(chain_of_trust(device).svg())  # noqa: S314
    assert picture.get("role") == "img"
    identifiers = [element.get("id") for element in picture.iter() if element.get("id")]
    assert picture.get("aria-labelledby").split() == identifiers
    colours = {element.get(kind) for element in picture.iter() for kind in ("fill", "stroke")}
    assert colours <= {None, "none", "currentColor"}


def test_both_forms_are_offered_to_the_notebook(device):
    bundle = chain_of_trust(device)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "The same as text" in bundle["text/html"]


def test_a_signature_that_is_not_there_is_not_claimed(device):
    view = chain_of_trust(wrong_certificates.without_intermediate(device))
    assert "not signed by Root" in str(view)
    assert "did not sign" in words(view)
    assert "signs" not in words(view)


def test_one_certificate_and_bare_certificates(device):
    alone = chain_of_trust(certificates.create_self_signed("pump-001"))
    assert str(alone).splitlines() == ["Chain of trust", "pump-001 (device: signs itself)"]
    assert str(chain_of_trust(device.chain_certificates)) == str(chain_of_trust(device))


def test_long_words_stay_within_the_picture():
    device = certificates.create_self_signed("x" * 64)
    view = chain_of_trust(device, marks={"x" * 64: "a remark of many words, " * 9})
    picture = ElementTree.fromstring(view.svg())  # noqa: S314
    width = int(picture.get("viewBox").split()[2])
    beside = [element for element in picture.iter() if element.get("font-style") == "italic"]
    assert len(beside) == 3
    assert beside[-1].text.endswith("…")
    for element in picture.iter():
        if element.tag.endswith("text"):
            assert int(element.get("x")) + width_of(element.text, bold=bool(element.get("font-weight"))) <= width
    assert "x" * 64 not in words(view)
    assert "x" * 64 in str(view)

import base64
import logging
import subprocess
import sys

import pytest

from helpers.views import distribution

HUBS = ("one.azure-devices.test", "two.azure-devices.test")


@pytest.fixture
def chart():
    ways = {"even": [HUBS[0]] * 3 + [HUBS[1]], "custom": [HUBS[1]] * 2 + ["three.azure-devices.test"]}
    return distribution(ways, hubs=HUBS, title="Ovens per hub")


def test_the_text_has_every_number_of_the_picture(chart):
    assert str(chart) == repr(chart)
    assert str(chart).splitlines() == [
        "Ovens per hub",
        "hub                       even    custom",
        "------------------------  ------  ------",
        "one.azure-devices.test    3 of 4  0 of 3",
        "two.azure-devices.test    1 of 4  2 of 3",
        "three.azure-devices.test  0 of 4  1 of 3",
    ]


def test_the_picture_is_a_png_with_words_for_whoever_cannot_see_it(chart):
    data, metadata = chart._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "image/png"}
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    words = metadata["image/png"]["alt"]
    assert words.startswith("Bar chart: Ovens per hub. even: one.azure-devices.test 3 of 4, ")
    assert "custom: one.azure-devices.test 0 of 3, two.azure-devices.test 2 of 3" in words
    assert f'<img alt="{words}" src="data:image/png;base64,' in data["text/html"]
    assert data["text/html"] == chart.html()
    assert data["text/plain"] == str(chart)


def test_the_same_numbers_make_the_same_picture_and_others_another(chart):
    again = distribution(chart.counts, hubs=chart.hubs, title=chart.title)
    assert again.png() == chart.png()
    assert distribution({"even": HUBS}, hubs=HUBS).png() != chart.png()


@pytest.mark.parametrize(
    ("ways", "hubs", "last"),
    [
        ({}, (), "(no devices)"),
        ({"left out": []}, HUBS, "two.azure-devices.test  0 of 0"),
        ({"a": []}, (), "(no devices)"),
    ],
    ids=["nothing", "no devices", "no hubs"],
)
def test_nothing_to_show_is_shown(ways, hubs, last):
    chart = distribution(ways, hubs=hubs)
    assert str(chart).splitlines()[0] == "Devices per hub"
    assert str(chart).splitlines()[-1] == last
    assert chart.png().startswith(b"\x89PNG")


def test_many_hubs_are_still_told_apart():
    hubs = [f"hub-{number}.azure-devices.test" for number in range(8)]
    assert distribution({"even": hubs}, hubs=hubs).png().startswith(b"\x89PNG")


def test_matplotlib_is_imported_by_who_draws_and_writes_nothing_below_the_cell(chart):
    program = "import sys, helpers.views; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    chart.png()
    chart.png()
    handlers = logging.getLogger("matplotlib").handlers
    assert [type(handler) for handler in handlers].count(logging.NullHandler) == 1

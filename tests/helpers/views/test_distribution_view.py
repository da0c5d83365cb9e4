"""The bar chart: bars as high as the shares are, told apart without colours, and every number in words as well."""

import json
import re
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from helpers.runner.accessibility import faults
from helpers.views import distribution
from helpers.views.picture import MARGIN, width_of

SVG = "{http://www.w3.org/2000/svg}"
HUBS = ("one.azure-devices.test", "two.azure-devices.test")
#: Of a bar that is as high as the axis goes.
FULL = 200


@pytest.fixture
def chart():
    ways = {"even": [HUBS[0]] * 3 + [HUBS[1]], "custom": [HUBS[1]] * 2 + ["three.azure-devices.test"]}
    return distribution(ways, hubs=HUBS, title="Ovens per hub")


def drawn(view):
    return ElementTree.fromstring(view.svg())  # noqa: S314 - our own picture


def texts(root):
    return [each.text for each in root.iter(f"{SVG}text")]


def number(element, name):
    return int(element.get(name))


def base_of(root):
    """The line on which the bars stand: the only one that is level and drawn in full."""
    (found,) = [each for each in root.iter(f"{SVG}line") if each.get("stroke-opacity") is None]
    assert found.get("y1") == found.get("y2")
    return number(found, "y1")


def bars_of(root):
    """From left to right; the boxes of the legend stand elsewhere."""
    return [each for each in root.iter(f"{SVG}rect") if number(each, "y") + number(each, "height") == base_of(root)]


def looks_of(root):
    """For each box: how dark it is, and the lines in it without their places."""
    found = []
    for each in root:
        if each.tag == f"{SVG}rect":
            found.append([each.get("fill-opacity"), ""])
        elif each.tag == f"{SVG}path":
            # which way each goes: up or down to the right, level, upright, or it is a dot
            ways = set()
            for x1, y1, command, at in re.findall(r"M(\d+) (\d+)([LHVh])([\d ]+)", each.get("d")):
                x2, y2 = map(int, at.split()) if command == "L" else (0, 0)
                ways.add((command, command == "L" and (x2 > int(x1)) == (y2 < int(y1))))
            found[-1][1] = f"{sorted(ways)} {each.get('stroke-width')}"
    return [tuple(each) for each in found]


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


def test_the_picture_has_words_for_whoever_cannot_see_it(chart):
    data = chart._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    assert data["text/plain"] == str(chart)
    assert data["text/html"] == chart.html()
    assert chart.svg() in data["text/html"]
    assert "<summary>The same as text</summary>" in data["text/html"]
    assert faults(data["text/html"]) == []
    root = drawn(chart)
    title, described = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby").split() == [title.get("id"), described.get("id")]
    assert title.text == "Ovens per hub"
    assert described.text == chart.described
    assert described.text.startswith("Bar chart: Ovens per hub. even: one.azure-devices.test 3 of 4, ")
    assert "custom: one.azure-devices.test 0 of 3, two.azure-devices.test 2 of 3" in described.text


def test_bars_are_as_high_as_the_shares_and_bear_their_numbers(chart):
    root = drawn(chart)
    bars = bars_of(root)
    assert [number(bar, "height") for bar in bars] == [round(FULL * share) for share in (3 / 4, 1 / 4, 2 / 3, 1 / 3)]
    edges = [(number(bar, "x"), number(bar, "x") + number(bar, "width")) for bar in bars]
    assert all(left[1] < right[0] for left, right in pairwise(edges))
    numbers = {}
    for each in root.iter(f"{SVG}text"):
        if each.get("text-anchor") == "middle" and each.text.isdigit():
            numbers[number(each, "x")] = (each.text, base_of(root) - number(each, "y"))
    above = [numbers[number(bar, "x") + number(bar, "width") // 2] for bar in bars]
    assert [said for said, _ in above] == ["3", "1", "2", "1"]
    for bar, (_, height) in zip(bars, above, strict=True):
        assert 0 < height - number(bar, "height") < 10
    # who got nothing has no bar, and a number on the line
    assert sorted(said for said, height in numbers.values() if height < 10) == ["0", "0"]


def test_the_axis_goes_from_nothing_to_all(chart):
    root = drawn(chart)
    marks = {each.text: base_of(root) - number(each, "y") for each in root.iter() if each.get("text-anchor") == "end"}
    assert list(marks) == ["0", "25", "50", "75", "100"]
    assert [height - marks["0"] for height in marks.values()] == [0, 50, 100, 150, 200]
    guides = {base_of(root) - number(each, "y1") for each in root.iter(f"{SVG}line")}
    assert guides == {0, 50, 100, 150, 200}
    assert "share of the devices in % (numbers: devices)" in texts(root)


def test_no_line_of_the_axis_shines_through_a_bar(chart):
    root = drawn(chart)
    for guide in root.iter(f"{SVG}line"):
        for bar in bars_of(root):
            inside = number(bar, "y") <= number(guide, "y1") < base_of(root)
            beside = number(guide, "x2") <= number(bar, "x") or number(guide, "x1") >= number(bar, "x") + number(
                bar, "width"
            )
            assert beside or not inside


def test_title_names_and_legend_are_in_the_picture(chart):
    root = drawn(chart)
    assert texts(root)[0] == "Ovens per hub"
    assert {"even", "custom", "one", "two", "three"} <= set(texts(root))
    # the boxes of the legend come first, and look like the bars
    looks = looks_of(root)
    assert len(set(looks[:3])) == 3
    assert looks[3:] == [looks[0], looks[1], looks[1], looks[2]]


def test_it_takes_its_colour_from_the_page_and_fits_into_it(chart):
    root = drawn(chart)
    width = root.get("viewBox").split()[2]
    assert f"width:100%; max-width:{width}px" in root.get("style")
    colours = {each.get(name) for each in root.iter() for name in ("fill", "stroke")} - {None}
    assert colours == {"currentColor", "none"}


def test_the_same_numbers_make_the_same_picture_and_others_another(chart):
    again = distribution(chart.counts, hubs=chart.hubs, title=chart.title)
    assert again.html() == chart.html()
    other = distribution({"even": HUBS}, hubs=HUBS, title=chart.title)
    assert other.svg() != chart.svg()
    names = [{each.get("id") for each in drawn(view).iter()} - {None} for view in (chart, other)]
    assert not names[0] & names[1]
    # nothing is found by its name but title and description
    assert "url(" not in chart.svg()


@pytest.mark.parametrize(
    ("ways", "hubs", "last", "shown"),
    [
        ({}, (), "(no devices)", "(no devices)"),
        ({"left out": []}, HUBS, "two.azure-devices.test  0 of 0", "left out"),
        ({"a": []}, (), "(no devices)", "(no devices)"),
    ],
    ids=["nothing", "no devices", "no hubs"],
)
def test_nothing_to_show_is_shown(ways, hubs, last, shown):
    chart = distribution(ways, hubs=hubs)
    assert str(chart).splitlines()[0] == "Devices per hub"
    assert str(chart).splitlines()[-1] == last
    root = drawn(chart)
    assert shown in texts(root)
    assert bars_of(root) == []
    assert texts(root).count("0") == 1 + len(hubs)


def test_many_hubs_are_still_told_apart():
    hubs = [f"hub-{number}.azure-devices.test" for number in range(8)]
    root = drawn(distribution({"even": hubs * 20, "other": hubs[:1]}, hubs=hubs))
    looks = looks_of(root)
    assert len(set(looks[:8])) == 8
    assert looks[8:] == [*looks[:8], looks[0]]
    assert all(len({one for one, _ in pair}) == len({one for _, one in pair}) == 2 for pair in pairwise(looks[:7]))


def test_numbers_have_room_however_many_bars_there_are():
    hubs = [f"hub-{number}.azure-devices.test" for number in range(8)]
    chart = distribution({f"way {number}": hubs * 1_000 for number in range(5)}, hubs=hubs)
    bars = bars_of(drawn(chart))
    assert len(bars) == 40
    places = [number(bar, "x") for bar in bars]
    assert min(right - left for left, right in pairwise(places)) >= width_of("1000")


def test_whatever_is_more_than_nothing_is_seen():
    root = drawn(distribution({"even": [HUBS[0]] * 9_999 + [HUBS[1]]}, hubs=HUBS))
    assert [number(bar, "height") for bar in bars_of(root)] == [FULL, 1]


@pytest.mark.parametrize("letters", [20, 60, 200])
def test_long_names_stay_in_the_picture(letters):
    long = "x" * letters
    ways = {"a way of allocating with a very long name, in many words": [f"{long}.test"], long: []}
    root = drawn(distribution(ways, hubs=[f"{long}.test", f"y{long}.test"], title=f"A title of {long} and more words"))
    width = int(root.get("viewBox").split()[2])
    for each in root.iter(f"{SVG}text"):
        takes = width_of(each.text, bold=bool(each.get("font-weight")), small=each.get("font-size") == "11")
        left = number(each, "x") - {"middle": takes // 2, "end": takes}.get(each.get("text-anchor"), 0)
        assert left >= MARGIN - 1, each.text
        assert left + takes <= width - MARGIN + 1, each.text
    assert next(iter(ways)) in " ".join(texts(root))


def test_names_are_escaped_and_broken_between_words():
    chart = distribution({"<one> & the other one of the two": ["<hub>"]}, title="<T> & more")
    assert {"<T> & more", "<hub>"} <= set(texts(drawn(chart)))
    ways = [f"{letter} of the five & more" for letter in "abcde"]
    narrow = texts(drawn(distribution(dict.fromkeys(ways, HUBS), hubs=HUBS)))
    assert not set(ways) & set(narrow)
    assert all(way in " ".join(narrow) for way in ways)
    assert "<hub>" not in chart.html()


def test_drawing_needs_no_package_for_charts():
    program = (
        "import sys, json; from helpers.views import distribution, histogram; "
        "distribution({'a': ['b']}).html(); histogram([1, 2]).html(); print(json.dumps(sorted(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert not {"matplotlib", "numpy", "PIL"} & set(json.loads(shown))

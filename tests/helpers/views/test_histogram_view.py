"""The histogram: ranges that people count in, every value in one of them, and the same in words."""

import random
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from helpers.views import histogram
from helpers.views.picture import width_of

SVG = "{http://www.w3.org/2000/svg}"
TIMES = [2.01, 2.05, 2.5, 2.61, 2.62, 2.9, 4.1]


def drawn(view):
    return ElementTree.fromstring(view.svg())  # noqa: S314 - our own picture


def texts(root, anchor=None):
    return [each.text for each in root.iter(f"{SVG}text") if anchor is None or each.get("text-anchor") == anchor]


def heights(root):
    return [int(each.get("height")) for each in root.iter(f"{SVG}rect")]


def test_the_text_has_every_number_of_the_picture():
    chart = histogram(TIMES, title="Times", unit="seconds")
    assert str(chart) == repr(chart)
    assert str(chart).splitlines() == [
        "Times",
        "seconds     how many",
        "----------  --------  ------------------------------",
        "2.0 to 2.2  2         ##############################",
        "2.2 to 2.4  0",
        "2.4 to 2.6  1         ###############",
        "2.6 to 2.8  2         ##############################",
        "2.8 to 3.0  1         ###############",
        "3.0 to 3.2  0",
        "3.2 to 3.4  0",
        "3.4 to 3.6  0",
        "3.6 to 3.8  0",
        "3.8 to 4.0  0",
        "4.0 to 4.2  1         ###############",
        "least 2.01, median 2.61, greatest 4.10 seconds",
    ]


def test_the_picture_has_words_for_whoever_cannot_see_it():
    chart = histogram(TIMES, title="Times", unit="seconds")
    data = chart._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html"}
    assert chart.svg() in data["text/html"]
    root = drawn(chart)
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title").text == "Times"
    words = root.find(f"{SVG}desc").text
    assert words.startswith("Histogram: Times in seconds. 2.0 to 2.2: 2; 2.4 to 2.6: 1; ")
    assert words.endswith("Least 2.01, median 2.61, greatest 4.10 seconds.")


def test_bars_are_as_high_as_the_counts_and_touch_each_other():
    chart = histogram([0.1] * 10 + [1.1] * 4 + [2.1] + [3.1] * 5 + [10.9])
    assert chart.counts == [10, 4, 1, 5, 0, 0, 0, 0, 0, 0, 1]
    root = drawn(chart)
    bars = list(root.iter(f"{SVG}rect"))
    assert heights(root) == [200, 80, 20, 100, 20]
    assert len({int(bar.get("y")) + int(bar.get("height")) for bar in bars}) == 1
    width = int(bars[0].get("width"))
    assert [int(bar.get("x")) - int(bars[0].get("x")) for bar in bars] == [width * place for place in (0, 1, 2, 3, 10)]
    # who has none has neither a bar nor a number
    said = [
        each for each in root.iter(f"{SVG}text") if int(each.get("x")) - width // 2 in {int(b.get("x")) for b in bars}
    ]
    assert [each.text for each in said] == ["10", "4", "1", "5", "1"]


def test_axes_and_what_they_count_are_in_the_picture():
    root = drawn(histogram([2.1] * 2 + [2.6] * 13 + [3.6] * 62 + [5.4] * 17, title="Times", unit="seconds"))
    assert texts(root)[:2] == ["Times", "how many"]
    assert texts(root, "end") == ["0", "20", "40", "60", "80"]
    assert texts(root)[-1] == "seconds"
    assert {"2.0", "2.5", "5.5"} <= set(texts(root, "middle"))


def test_edges_that_would_touch_are_left_out():
    root = drawn(histogram([1e9, 1e9 + 5e8]))
    edges = [each for each in root.iter(f"{SVG}text") if len(each.text) == 10]
    assert edges[0].text == "1000000000"
    assert len(edges) > 3
    places = [int(each.get("x")) for each in edges]
    assert min(right - left for left, right in pairwise(places)) >= width_of("1000000000")
    # and those at the ends stay in the picture
    assert places[0] >= width_of("1000000000") // 2
    assert places[-1] + width_of("1000000000") // 2 <= int(root.get("viewBox").split()[2])


def test_the_same_values_make_the_same_picture():
    assert histogram(TIMES).html() == histogram(reversed(TIMES)).html()


@pytest.mark.parametrize("values", [[], [float("nan"), float("inf")]], ids=["none", "none that counts"])
def test_nothing_to_show_is_shown(values):
    chart = histogram(values)
    assert str(chart) == "How often which value occurs\n(no values)"
    assert chart.described.startswith("Histogram: How often which value occurs. No values. ")
    root = drawn(chart)
    assert "(no values)" in texts(root)
    assert texts(root, "end") == ["0", "1"]
    assert heights(root) == []


@pytest.mark.parametrize(
    "values",
    [[0.0], [7], [-3.0, -3.0], [0, 1e-7], [1e9, 1e9 + 5e8], [-5, 5], [0.1, 0.2, 0.3], [0, 10, 110], [1e-3] * 9],
    ids=["zero", "one", "negative", "tiny", "huge", "both sides", "tenths", "edges", "equal"],
)
def test_every_value_has_its_range(values):
    chart = histogram(values)
    assert sum(chart.counts) == len(values)
    assert chart.counts[0] > 0
    assert chart.counts[-1] > 0
    assert 1 <= len(chart.counts) <= 13
    assert chart.edges[0] <= min(values) + 1e-9
    assert chart.edges[-1] >= max(values) - 1e-9
    assert len(str(chart).splitlines()) == len(chart.counts) + 4
    assert len(heights(drawn(chart))) == sum(count > 0 for count in chart.counts)


def test_many_values():
    chance = random.Random(7)  # noqa: S311  (no secret hangs on it)
    for _ in range(200):
        values = [chance.uniform(-1, 1) * 10 ** chance.randint(-4, 4) for _ in range(chance.randint(1, 30))]
        chart = histogram(values)
        assert sum(chart.counts) == len(values)
        assert len(chart.counts) <= 13

"""The histogram: ranges that people count in, every value in one of them, and the same in words."""

import base64
import random

import pytest

from helpers.views import histogram

TIMES = [2.01, 2.05, 2.5, 2.61, 2.62, 2.9, 4.1]


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


def test_the_picture_is_a_png_with_words_for_whoever_cannot_see_it():
    data, metadata = histogram(TIMES, title="Times", unit="seconds")._repr_mimebundle_()
    assert set(data) == {"text/plain", "text/html", "image/png"}
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    words = metadata["image/png"]["alt"]
    assert words.startswith("Histogram: Times in seconds. 2.0 to 2.2: 2; 2.4 to 2.6: 1; ")
    assert words.endswith("Least 2.01, median 2.61, greatest 4.10 seconds.")
    assert f'alt="{words}"' in data["text/html"]


def test_the_same_values_make_the_same_picture():
    assert histogram(TIMES).png() == histogram(reversed(TIMES)).png()


@pytest.mark.parametrize("values", [[], [float("nan"), float("inf")]], ids=["none", "none that counts"])
def test_nothing_to_show_is_shown(values):
    chart = histogram(values)
    assert str(chart) == "How often which value occurs\n(no values)"
    assert chart.described.startswith("Histogram: How often which value occurs. No values. ")
    assert chart.png().startswith(b"\x89PNG")


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


def test_many_values():
    chance = random.Random(7)  # noqa: S311  (no secret hangs on it)
    for _ in range(200):
        values = [chance.uniform(-1, 1) * 10 ** chance.randint(-4, 4) for _ in range(chance.randint(1, 30))]
        chart = histogram(values)
        assert sum(chart.counts) == len(values)
        assert len(chart.counts) <= 13

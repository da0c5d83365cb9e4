"""The elements that all pictures are made of."""

import re
from xml.etree import ElementTree

import pytest

from helpers.views.picture import (
    MARGIN,
    arrow,
    band,
    bar,
    cross,
    frame,
    kind_of_bar,
    line,
    paragraph,
    picture,
    shortened,
    spacing,
    width_of,
    with_text,
    words,
    wrapped,
)


def element(markup):
    return ElementTree.fromstring(markup)  # noqa: S314 - our own picture


def elements(markup):
    return list(element(f"<g>{markup}</g>"))


def test_a_picture_says_what_it_shows_and_takes_the_colour_of_the_page():
    drawn = element(picture("<T>", "a & b", 300, 200, [frame(1, 2, 3, 4)]))
    assert drawn.get("role") == "img"
    assert drawn.get("viewBox") == "0 0 300 200"
    title, text, box = list(drawn)
    assert (title.text, text.text) == ("<T>", "a & b")
    assert drawn.get("aria-labelledby").split() == [title.get("id"), text.get("id")]
    assert drawn.get("fill") == box.get("stroke") == "currentColor"


def test_two_pictures_on_a_page_do_not_share_their_names():
    assert picture("A", "x", 1, 1, []) != picture("A", "y", 1, 1, [])
    assert element(picture("A", "x", 1, 1, []))[0].get("id") != element(picture("A", "y", 1, 1, []))[0].get("id")


def test_the_same_as_text_is_escaped_and_the_note_is_optional():
    assert "<p>" not in with_text("<svg/>", "a")
    html = with_text("<svg/>", "<a>", "<n>")
    assert "&lt;a&gt;" in html
    assert "<p>&lt;n&gt;</p>" in html


def test_large_and_bold_letters_take_more_room_and_small_ones_less():
    assert width_of("") == 0
    assert width_of("abc") < width_of("ABC")
    assert width_of("abc") < width_of("123")
    assert width_of("abc", small=True) < width_of("abc") < width_of("abc", bold=True)


@pytest.mark.parametrize("bold", [False, True], ids=["plain", "bold"])
@pytest.mark.parametrize("width", [20, 100, 1000])
def test_what_is_shortened_fits_and_says_so(width, bold):
    text = "thermostat-in-the-kitchen"
    short = shortened(text, width, bold=bold)
    assert width_of(short, bold=bold) <= width
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


def test_no_room_at_all_leaves_a_sign_that_there_was_something():
    assert shortened("abc", 0) == "…"


def test_words_are_wrapped_between_words():
    lines = wrapped("one two three four", 70)
    assert " ".join(lines) == "one two three four"
    assert len(lines) > 1
    assert all(width_of(each) <= 70 for each in lines)
    assert wrapped("", 70) == [""]
    assert wrapped("x" * 50, 70)[0].endswith("…")


def test_words_that_take_too_many_lines_are_cut():
    text = "one two three four five six seven"
    assert len(wrapped(text, 70)) > 2
    lines = wrapped(text, 70, most=2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
    assert all(width_of(each) <= 70 for each in lines)
    assert wrapped(text, 500, most=1) == [text]


def test_heavier_words_need_more_lines():
    text = "thermostats in the kitchen"
    lines = wrapped(text, width_of(text), bold=True)
    assert wrapped(text, width_of(text)) == [text]
    assert " ".join(lines) == text
    assert all(width_of(each, bold=True) <= width_of(text) for each in lines)


def test_words_are_escaped_and_set_as_asked():
    plain = element(words(1, 2, "a < b"))
    assert plain.text == "a < b"
    assert set(plain.attrib) == {"x", "y"}
    fine = element(words(1, 2, "a", bold=True, italic=True, small=True, anchor="end"))
    assert fine.get("font-weight") == "bold"
    assert fine.get("font-style") == "italic"
    assert fine.get("font-size") == "11"
    assert fine.get("text-anchor") == "end"


def test_a_paragraph_stands_around_its_middle_and_is_cut_when_it_is_too_long():
    (single,) = elements("".join(paragraph(10, 100, "one", 200)))
    assert int(single.get("y")) == 105
    lines = elements("".join(paragraph(10, 100, "many words here " * 5, 150, most=2)))
    assert len(lines) == 2
    assert lines[-1].text.endswith("…")
    assert sum(int(each.get("y")) for each in lines) / 2 == 105


def test_boxes_bars_and_lines_look_as_they_should():
    assert element(frame(0, 0, 9, 9)).get("stroke-dasharray") is None
    assert element(frame(0, 0, 9, 9, dashed=True)).get("stroke-dasharray")
    assert element(band(0, 0, 9, 9)).get("stroke") is None
    assert element(bar(0, 0, 0, 9)).get("width") == "2"
    filled, empty = element(bar(0, 0, 9, 9)), element(bar(0, 0, 9, 9, filled=False, dashed=True))
    assert float(filled.get("fill-opacity")) > float(empty.get("fill-opacity"))
    assert empty.get("stroke-dasharray")
    opacities = [element(line(0, 0, 9, 9, **look)).get("stroke-opacity") for look in ({"guide": True}, {"faint": True})]
    assert float(opacities[0]) < float(opacities[1])
    assert element(line(0, 0, 9, 9)).get("stroke-opacity") is None


@pytest.mark.parametrize("tip", [(90, 50), (10, 50), (50, 90), (50, 10)], ids=["right", "left", "down", "up"])
def test_an_arrow_ends_at_its_tip_in_every_direction(tip):
    shaft, head = elements(arrow(50, 50, *tip))
    assert head.tag == "polygon"
    corners = [tuple(map(int, corner.split(","))) for corner in head.get("points").split()]
    assert corners[0] == tip
    # its corners lie on the near side, left and right of the shaft
    back = (int(shaft.get("x2")), int(shaft.get("y2")))
    assert tuple((a + b) // 2 for a, b in zip(corners[1], corners[2], strict=True)) == back
    assert sum(abs(a - b) for a, b in zip(back, tip, strict=True)) == 9


def test_asking_answering_and_refusing_differ_in_form():
    asks, answers, refuses = (
        [each.tag for each in elements(arrow(0, 0, 99, 0, answer=answer, refused=refused))]
        for answer, refused in ((False, False), (True, False), (True, True))
    )
    assert asks == ["line", "polygon"]
    assert answers == ["line", "polyline"]
    assert refuses == ["line", "polyline", "path"]
    assert elements(arrow(0, 0, 99, 0, refused=True))[0].get("stroke-dasharray")
    assert element(cross(MARGIN, MARGIN)).get("stroke") == "currentColor"


@pytest.mark.parametrize("size", [(50, 200), (20, 3), (1, 100), (26, 14), (14, 1)], ids=str)
@pytest.mark.parametrize("kind", range(8))
def test_lines_in_a_bar_stay_in_it(kind, size):
    width, height = size
    box, *lines = elements(kind_of_bar(100, 300, width, height, kind))
    assert [box.get(name) for name in ("x", "y", "width", "height")] == ["100", "300", str(width), str(height)]
    for path in lines:
        for command, at in re.findall(r"([MLHVh])([\d ]+)", path.get("d")):
            x, y = {
                "M": lambda at: at,
                "L": lambda at: at,
                "H": lambda at: (at[0], 300),
                "V": lambda at: (100, at[0]),
                "h": lambda _: (100, 300),
            }[command]([int(each) for each in at.split()])
            assert 100 <= x <= 100 + width
            assert 300 <= y <= 300 + height


def test_bars_of_a_kind_look_alike_wherever_they_stand():
    def shape(left, top):
        path = elements(kind_of_bar(left, top, 40, 60, 1))[1]
        return [(int(x) - left, int(y) - top) for x, y in re.findall(r"[ML](\d+) (\d+)", path.get("d"))]

    assert shape(0, 0) == shape(123, 77)
    # up to the right, from edge to edge
    for begin, end in zip(shape(0, 0)[::2], shape(0, 0)[1::2], strict=True):
        assert end[0] - begin[0] == begin[1] - end[1] > 0
        assert begin[0] == 0 or begin[1] == 60
        assert end[0] == 40 or end[1] == 0


@pytest.mark.parametrize(
    ("greatest", "step"), [(0, 1), (4, 1), (5, 2), (9, 5), (21, 10), (2110, 1000), (4001, 2000), (8001, 5000)]
)
def test_marks_are_numbers_that_people_count_in(greatest, step):
    assert spacing(greatest, 4) == step

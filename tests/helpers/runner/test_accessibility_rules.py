"""Each rule about HTML lets good HTML pass and sees the fault it is there for."""

import pytest

from helpers.runner.accessibility import faults

GOOD = {
    "plain text": "just *text*, 1 < 2, and `code`",
    "picture": '<svg role="img" aria-label="A"><rect/></svg>',
    "picture with a title": '<svg role="img"><title>A</title><rect fill="none" stroke="currentColor"/></svg>',
    "ornament": '<svg aria-hidden="true"><title>x</title></svg>',
    "table": '<table><thead><tr><th scope="col">a</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>',
    "table of rows": "<table><tr><th scope=row>a</th><td>1</td></tr></table>",
    "table for layout": '<table role="presentation"><tr><td>1</td></tr></table>',
    "colour of the page": '<p style="color: inherit; border: 1px solid currentColor; text-align: left">x</p>',
    "colour of the theme": '<p style="color:var(--jp-ui-font-color1)">x</p>',
    "label around a field": "<label>Name <input></label>",
    "label before a field": '<label for="a">Name</label><input id="a">',
    "label after a field": '<input id="a"><label for="a">Name</label>',
    "named field": '<select aria-label="Hub"></select>',
    "button": "<button>Read again</button>",
    "hidden field": '<input type="hidden">',
}
FAULTS = {
    "picture without a name": ('<svg role="img"><rect/></svg>', "neither a title nor an aria-label"),
    "picture without a role": ("<svg><title>A</title></svg>", "no role=img"),
    "inner picture": ('<svg role="img"><svg role="img" aria-label="x"></svg></svg>', "neither a title"),
    "table without heads": ("<table><tr><td>1</td></tr></table>", "no heads"),
    "head without scope": ("<table><tr><th>a</th></tr></table>", "no scope"),
    "wrong scope": ('<table><tr><th scope="left">a</th></tr></table>', "no scope"),
    "red text": ('<p style="color: red">no</p>', "color is 'red'"),
    "black on white": ('<p style="background-color:#fff">x</p>', "background-color is '#fff'"),
    "filled picture": ('<svg role="img" aria-label="A"><rect fill="#00f"/></svg>', "fill is '#00f'"),
    "coloured font": ('<font color="blue">x</font>', "color is 'blue'"),
    "colour beside one of the page": ('<p style="background: inherit steelblue">x</p>', "steelblue"),
    "field without a label": ("<input type=text>", "a field (input) has no label"),
    "label of another field": ('<label for="b">Name</label><input id="a">', "a field (input) has no label"),
    "text area": ("<textarea></textarea>", "a field (textarea) has no label"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_html_passes(name):
    assert faults(GOOD[name]) == []


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_seen(name):
    html, expected = FAULTS[name]
    found = faults(html)
    assert len(found) == 1
    assert expected in found[0]


def test_what_is_wrong_twice_is_said_once():
    assert len(faults("<table><tr><th>a</th><th>b</th></tr></table>")) == 1


@pytest.mark.parametrize("html", ["</svg></table></label>", "<svg", "<th>", "<title>x</title>", "< >", "<p style>"])
def test_torn_html_does_no_harm(html):
    assert isinstance(faults(html), list)

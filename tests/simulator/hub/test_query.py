from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dps_simulator.errors.table import Hub, ServiceError
from dps_simulator.hub.query import MAX_COLUMNS, MAX_LENGTH, MAX_NESTING, UNDEFINED, parse

TWINS = [
    {
        "deviceId": "a",
        "status": "enabled",
        "connectionState": "Connected",
        "tags": {"floor": 1, "room": "lab", "on": True, "nothing": None, "list": [1]},
        "properties": {
            "desired": {"interval": 5, "$version": 4},
            "reported": {"interval": 5, "temperature": 20.5},
        },
        "capabilities": {"iotEdge": False},
    },
    {
        "deviceId": "b",
        "status": "disabled",
        "tags": {"floor": 2, "room": "it's", "smile": "\N{GRINNING FACE}"},
        "properties": {
            "desired": {"interval": 7},
            "reported": {"interval": 6, "temperature": "hot"},
        },
        "capabilities": {"iotEdge": True},
    },
    {
        "deviceId": "c",
        "status": "enabled",
        "tags": {"floor": "1", "room": "lab"},
        "properties": {"desired": {}, "reported": {"temperature": 30}},
    },
]

ALL_WHERE = "SELECT * FROM devices WHERE "


def select(where):
    query = parse(ALL_WHERE + where)
    return "".join(twin["deviceId"] for twin in TWINS if query.matches(twin))


@pytest.mark.parametrize(
    ("where", "devices"),
    [
        ("deviceId = 'a'", "a"),
        ('deviceId = "a"', "a"),
        ("'a' = deviceId", "a"),
        ("status != 'enabled'", "b"),
        ("status <> 'enabled'", "b"),
        ("tags.floor = 1", "a"),
        ("tags.floor = 0x1", "a"),
        ("tags.floor > -1", "ab"),
        ("tags.floor >= 2", "b"),
        ("tags.floor < 2", "a"),
        ("tags.floor <= 2.0e0", "ab"),
        ("tags.floor <= '1'", "c"),
        ("tags.room < 'j'", "b"),
        ("tags.room = 'it\\'s'", "b"),
        ("tags.room = 'l\\u0061b'", "ac"),
        ("tags.on = true", "a"),
        ("tags.on", "a"),
        ("tags.on = TRUE AND NOT tags.on = false", "a"),
        ("tags.on > false", ""),
        ("tags.nothing = null", "a"),
        ("tags.nothing != null", ""),
        ("tags.missing = null", ""),
        ("tags.missing = undefined", ""),
        ("tags.list = tags.list", ""),
        ("NOT tags.list = 1", ""),
        ("tags.room", ""),
        ("NOT tags.room", "abc"),
        ("IS_DEFINED(tags.on)", "a"),
        ("is_defined(tags.nothing)", "a"),
        ("NOT is_defined(tags.on)", "bc"),
        ("is_defined(tags.room.deeper)", ""),
        ("properties.desired.interval = properties.reported.interval", "a"),
        ("properties.desired.$version = 4", "a"),
        ("tags.floor IN [1, '1']", "ac"),
        ("tags.floor NIN [1]", "bc"),
        ("tags.nothing IN [null]", "a"),
        ("tags.missing IN [undefined, 1]", ""),
        ("tags.missing NIN [1]", ""),
        ("tags.list IN [1]", ""),
        ("capabilities.iotEdge = false", "a"),
        ("status = 'enabled' AND tags.room = 'lab' AND tags.floor = 1", "a"),
        ("tags.floor = 2 OR deviceId = 'c' OR deviceId = 'c'", "bc"),
        ("deviceId = 'a' OR deviceId = 'b' AND status = 'enabled'", "a"),
        ("(deviceId = 'a' OR deviceId = 'b') AND status = 'disabled'", "b"),
        ("NOT (deviceId = 'a' OR tags.missing = 1)", ""),
        ("NOT (deviceId = 'a' AND tags.missing = 1)", "bc"),
        ("tags.missing = 1 OR deviceId = 'b'", "b"),
        ("NOT NOT deviceId = 'b'", "b"),
        ("true", "abc"),
        ("false", ""),
        ("tags.floor + 1 = 2", "a"),
        ("tags.floor -1 = 0", "a"),
        ("2 - tags.floor = 1", "a"),
        ("tags.floor + 2 * 3 = 7", "a"),
        ("(tags.floor + 2) * 3 = 9", "a"),
        ("tags.floor * 2 / 4 = 0.5", "a"),
        ("tags.floor % 2 = 0", "b"),
        ("-5 % 3 = -2", "abc"),
        ("tags.room + 1 = 2", ""),
        ("NOT tags.room + 1 = 2", ""),
        ("tags.floor / 0 = 1", ""),
        ("tags.floor % 0 = 1", ""),
        ("1e308 * 10 > 1", ""),
        ("tags.floor IN [-1, 1]", "a"),
        ("5 - 2 - tags.floor = 2 AND 8 / 2 / 2 * 3 = 6", "a"),
        ("1 + tags.room - 1 = 1", ""),
        ("tags.smile = '\\ud83d\\uDE00'", "b"),
        ("array_contains(tags.list, 1)", "a"),
        ("ARRAY_CONTAINS(tags.list, '1')", ""),
        ("NOT array_contains(tags.list, 2)", "a"),
        ("NOT array_contains(tags.room, 'l')", ""),
        ("array_contains(tags.missing, undefined)", ""),
        ("DeviceID = 'a'", "a"),
        ("devices.deviceId = 'b'", "b"),
        ("devices.TAGS.floor = 1", "a"),
        ("tags.FLOOR = 1", ""),
        ("devices = 1", ""),
    ],
)
def test_conditions(where, devices):
    assert select(where) == devices


def rows(text):
    query = parse(text)
    chosen = [twin for twin in TWINS if query.matches(twin)]
    return summed(query, chosen) if query.aggregates else [query.project(twin) for twin in chosen]


def summed(query, twins):
    summary = query.summary()
    for twin in twins:
        summary.add(twin)
    return list(summary.rows())


def test_everything_and_keywords_in_any_case():
    query = parse("select  *\nFrom DEVICES")
    assert query.selects_twins
    assert not query.aggregates
    assert query.top is None
    assert rows("SELECT * FROM devices") == TWINS


def test_top():
    assert parse("SELECT TOP 10 * FROM devices").top == 10


def test_projections_leave_out_what_is_undefined():
    assert rows("SELECT deviceId, tags.on AS lit, properties.reported.temperature FROM devices") == [
        {"deviceId": "a", "lit": True, "temperature": 20.5},
        {"deviceId": "b", "temperature": "hot"},
        {"deviceId": "c", "temperature": 30},
    ]


def test_aggregates_over_everything():
    assert rows(
        "SELECT COUNT() AS n, AVG(properties.reported.temperature) AS mean, SUM(tags.floor) AS total, "
        "MIN(properties.reported.temperature) AS low, max(properties.reported.temperature) AS high FROM devices"
    ) == [{"n": 3, "mean": 25.25, "total": 3, "low": 20.5, "high": 30}]


def test_aggregates_over_nothing():
    assert rows("SELECT COUNT(), SUM(tags.floor), AVG(tags.floor) AS mean FROM devices WHERE false") == [
        {"$1": 0, "$2": 0}
    ]


def test_an_aggregate_that_json_cannot_express_is_left_out():
    query = parse("SELECT SUM(n) AS s, COUNT() AS c FROM devices")
    assert summed(query, [{"n": 1e308}, {"n": 1e308}]) == [{"c": 2}]


def test_groups():
    assert rows("SELECT tags.room AS room, COUNT() AS n FROM devices GROUP BY tags.room") == [
        {"room": "lab", "n": 2},
        {"room": "it's", "n": 1},
    ]
    # a number and a text that look alike are different, and so is a missing value
    assert rows("SELECT tags.floor, COUNT() AS n FROM devices GROUP BY tags.floor, tags.on") == [
        {"floor": 1, "n": 1},
        {"floor": 2, "n": 1},
        {"floor": "1", "n": 1},
    ]
    assert rows("SELECT COUNT() AS n FROM devices WHERE false GROUP BY status") == []


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("", 1, "SELECT is expected, not the end"),
        ("UPDATE devices", 1, "SELECT is expected, not 'UPDATE'"),
        ("SELECT", 7, "a property is expected"),
        ("SELECT * devices", 10, "FROM is expected"),
        ("SELECT * FROM things", 15, "only FROM devices and FROM devices.modules are possible, not 'things'"),
        ("SELECT * FROM devices.things", 23, "only FROM devices"),
        ("SELECT * FROM devices WHERE", 28, "a property is expected"),
        ("SELECT * FROM devices WHERE ;", 29, "';' cannot stand here"),
        ("SELECT * FROM devices WHERE a = 'x", 33, "cannot stand here"),
        ("SELECT * FROM devices WHERE a = 1 2", 35, "'2' cannot stand here"),
        ("SELECT * FROM devices WHERE a IN 1", 34, "'[' is expected"),
        ("SELECT * FROM devices WHERE a IN []", 35, "a constant is expected"),
        ("SELECT * FROM devices WHERE a IN [b]", 35, "a constant is expected"),
        ("SELECT * FROM devices WHERE a IN [1", 36, "']' is expected"),
        ("SELECT * FROM devices WHERE (a = 1", 35, "')' is expected"),
        ("SELECT * FROM devices WHERE a. = 1", 32, "after '.'"),
        ("SELECT * FROM devices WHERE is_defined()", 40, "a property is expected"),
        ("SELECT * FROM devices WHERE a = 'b\\n'", 35, "the escapes are"),
        ("SELECT * FROM devices WHERE a = 'b\\u12'", 35, "the escapes are"),
        ("SELECT * FROM devices WHERE a = 'b\\ud800'", 33, "half of a surrogate pair"),
        ("SELECT * FROM devices WHERE a IN ['\\ude00\\ud83d']", 35, "half of a surrogate pair"),
        ("SELECT * FROM devices WHERE a = '\ud800'", 33, "half of a surrogate pair"),
        ("SELECT * FROM devices WHERE array_contains(a)", 45, "',' is expected"),
        ("SELECT * FROM devices WHERE array_contains(a, b)", 47, "a constant is expected"),
        ("SELECT * FROM devices WHERE select = 1", 29, "a property is expected"),
        ("SELECT TOP x * FROM devices", 12, "TOP needs"),
        ("SELECT TOP 0 * FROM devices", 12, "TOP needs"),
        ("SELECT TOP 1.5 * FROM devices", 12, "TOP needs"),
        ("SELECT TOP 99999999 * FROM devices", 12, "TOP needs"),
        ("SELECT * FROM devices.things", 23, "only FROM devices and FROM devices.modules"),
        ("SELECT * FROM devices WHERE a = -'b'", 34, "a number is expected after '-'"),
        ("SELECT * FROM devices WHERE - a = 1", 31, "a number is expected after '-'"),
        ("SELECT a AS from FROM devices", 13, "a name is expected after AS"),
        ("SELECT a AS 1 FROM devices", 13, "a name is expected after AS"),
        ("SELECT a, b.a FROM devices", 8, "two columns are called 'a'"),
        ("SELECT COUNT(*) AS n FROM devices", 14, "')' is expected"),
        ("SELECT a, COUNT() AS n FROM devices", 8, "'a' stands beside an aggregate"),
        ("SELECT * FROM devices GROUP BY a", 8, "does not go with GROUP BY"),
        ("SELECT COUNT() AS n FROM devices GROUP a", 40, "BY is expected"),
    ],
)
def test_mistakes_are_named_with_their_position(text, position, what):
    with pytest.raises(ServiceError) as caught:
        parse(text)
    assert caught.value.kind is Hub.ARGUMENT_INVALID
    assert f"not valid at character {position}: " in caught.value.message
    assert what in caught.value.message


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("SELECT * FROM devices.jobs", "FROM devices.jobs"),
        ("SELECT * FROM devices ORDER BY deviceId", "ORDER BY"),
        ("SELECT * FROM devices WHERE STARTSWITH(deviceId, 'a')", "the function STARTSWITH"),
        ("SELECT LOWER(deviceId) AS x FROM devices", "the function LOWER"),
        ("SELECT array_contains(a, 1) FROM devices", "the function array_contains"),
        ("SELECT * FROM devices WHERE tags['floor'] = 2", "a property in brackets"),
    ],
)
def test_what_is_not_supported_says_so(text, what):
    with pytest.raises(ServiceError) as caught:
        parse(text)
    assert caught.value.kind is Hub.NOT_SUPPORTED
    assert f"{what} is not supported by this simulator" in caught.value.message


def test_modules_are_another_source():
    query = parse("SELECT devices.modules.moduleId, devices.deviceId AS device FROM Devices.Modules")
    assert query.source == "devices.modules"
    assert query.project({"deviceId": "d", "moduleId": "m"}) == {"moduleId": "m", "device": "d"}
    assert parse("SELECT * FROM devices").source == "devices"


@pytest.mark.parametrize(
    ("where", "device_ids"),
    [
        ("deviceId = 'a'", {"a"}),
        ("'a' = DeviceId", {"a"}),
        ("deviceId IN ['a', 'b', 1]", {"a", "b"}),
        ("deviceId = 'a' AND tags.x > 1", {"a"}),
        ("deviceId IN ['a', 'b'] AND deviceId IN ['b', 'c']", {"b"}),
        ("deviceId = 'a' OR deviceId = 'b'", {"a", "b"}),
        ("deviceId = 'a' OR status = 'disabled'", None),
        ("NOT deviceId = 'a'", None),
        ("deviceId NIN ['a']", None),
        ("deviceId != 'a'", None),
        ("deviceId = tags.name", None),
        ("tags.x = 1 AND tags.y = 2", None),
        ("tags.x IN ['a']", None),
        ("true", None),
    ],
)
def test_which_devices_a_condition_can_select(where, device_ids):
    assert parse(ALL_WHERE + where).device_ids == device_ids


def test_which_statuses_a_condition_can_select():
    assert parse(ALL_WHERE + "status = 'disabled' AND tags.x = 1").statuses == {"disabled"}
    assert parse("SELECT * FROM devices").statuses is None


COUNTS = {"enabled": 5, "disabled": 2}


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("SELECT COUNT() AS n FROM devices", [{"n": 7}]),
        ("SELECT COUNT() AS n FROM devices WHERE status = 'disabled'", [{"n": 2}]),
        ("SELECT COUNT() AS n FROM devices WHERE status IN ['enabled']", [{"n": 5}]),
        ("SELECT COUNT() AS n FROM devices WHERE status = 'gone'", [{"n": 0}]),
        (
            "SELECT status AS s, COUNT() AS n FROM devices GROUP BY status",
            [{"s": "enabled", "n": 5}, {"s": "disabled", "n": 2}],
        ),
        ("SELECT COUNT() AS n FROM devices WHERE status != 'enabled' GROUP BY status", [{"n": 2}]),
        ("SELECT COUNT() AS n FROM devices WHERE status = 'gone' GROUP BY status", []),
        ("SELECT status FROM devices GROUP BY status", None),
        ("SELECT COUNT() AS n FROM devices.modules", None),
        ("SELECT COUNT() AS n, MAX(tags.x) AS m FROM devices", None),
        ("SELECT COUNT() AS n FROM devices GROUP BY tags.x", None),
        ("SELECT COUNT() AS n FROM devices WHERE tags.x = 1", None),
        ("SELECT COUNT() AS n FROM devices WHERE status = tags.x", None),
        ("SELECT COUNT() AS n FROM devices WHERE status = 'enabled' AND tags.x = 1", None),
        ("SELECT COUNT() AS n FROM devices WHERE tags.x IN ['enabled']", None),
    ],
)
def test_what_counters_answer(text, rows):
    assert parse(text).from_counts(COUNTS) == rows


def test_limits():
    with pytest.raises(ServiceError, match=f"at most {MAX_LENGTH} are allowed"):
        parse(ALL_WHERE + "true" + " " * MAX_LENGTH)
    with pytest.raises(ServiceError, match="too many digits"):
        parse(ALL_WHERE + "a = " + "1" * 5000)
    for nested in ("(", "NOT "):
        with pytest.raises(ServiceError, match=f"nested {MAX_NESTING} levels"):
            parse(ALL_WHERE + nested * (MAX_NESTING + 1) + "a = 1")
        closing = ")" * MAX_NESTING if nested == "(" else ""
        parse(ALL_WHERE + nested * MAX_NESTING + "a = 1" + closing)
    # beside each other there may be any number
    parse(ALL_WHERE + " OR ".join(["(NOT a = 1)"] * (MAX_NESTING + 5)))
    columns = [f"a AS a{number}" for number in range(MAX_COLUMNS + 1)]
    parse(f"SELECT {', '.join(columns[:-1])} FROM devices")  # noqa: S608 - no SQL
    for too_many in (
        f"SELECT {', '.join(columns)} FROM devices",  # noqa: S608
        f"SELECT COUNT() AS n FROM devices GROUP BY {', '.join(['a'] * (MAX_COLUMNS + 1))}",  # noqa: S608
    ):
        with pytest.raises(ServiceError, match=f"at most {MAX_COLUMNS} elements"):
            parse(too_many)


@pytest.mark.parametrize(
    ("unit", "joint", "end", "devices"),
    [
        ("1", "+", "> 0", "abc"),
        ("0", "-", "= 0", "abc"),
        ("1", "*", "= 1", "abc"),
        ("9", "/", "< 9", "abc"),
        ("7", "%", "= 7", ""),
        ("a=1", " OR ", "", ""),
        ("true", " AND ", "", "abc"),
        ("NOT true", " AND NOT false OR ", "", ""),
    ],
)
def test_a_chain_may_be_as_long_as_a_query(unit, joint, end, devices):
    chain = joint.join([unit] * ((MAX_LENGTH - 100) // len(unit + joint)))
    for where in (chain, f"({chain})"):
        assert select(where + end) == devices


def test_undefined_shows_its_name():
    assert repr(UNDEFINED) == "undefined"


VOCABULARY = """
ARRAY_CONTAINS(tags.list, \\ud800 '\\ud800'
SELECT TOP * FROM devices WHERE GROUP BY AND OR NOT IN NIN AS COUNT() AVG( IS_DEFINED( ( ) [ ] , . = != < 1 -1 0x1f 'a'
"b" null true undefined deviceId tags.a properties.reported.t - + * / % ORDER devices.modules
"""
WORDS = st.sampled_from(VOCABULARY.split())


@given(st.text() | st.lists(WORDS).map(" ".join))
@example("SELECT * FROM devices WHERE a = 1e999")
def test_any_text_is_a_query_or_a_clear_refusal(text):
    query, kind = None, Hub.ARGUMENT_INVALID
    try:
        query = parse(text)
    except ServiceError as error:
        kind = error.kind
    assert kind in (Hub.ARGUMENT_INVALID, Hub.NOT_SUPPORTED)
    if query is None:
        return
    matching = [twin for twin in TWINS if query.matches(twin)]
    if query.aggregates:
        summed(query, matching)
    else:
        assert len([query.project(twin) for twin in matching]) <= len(TWINS)


@given(st.lists(WORDS, max_size=12))
def test_any_condition_is_evaluated_or_refused(words):
    try:
        query = parse(ALL_WHERE + " ".join(words))
    except ServiceError:
        return
    for twin in TWINS:
        assert query.matches(twin) in (True, False)

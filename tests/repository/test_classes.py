"""What docs/classes.md says, and the values for a cluster beside it."""

import json
import re

import pytest
import yaml

from benchmarks import learner

#: What the chart's values.schema.yaml (jupyterhub/zero-to-jupyterhub-k8s, autumn of 2026) allows, for the keys that we
#: use: it refuses every other one in these places. Numbers may be whole.
SCHEMA = {
    "singleuser.image.name": str,
    "singleuser.image.tag": str,
    "singleuser.defaultUrl": str,
    "singleuser.memory.guarantee": (int, str),
    "singleuser.memory.limit": (int, str),
    "singleuser.cpu.guarantee": (int, float),
    "singleuser.cpu.limit": (int, float),
    "singleuser.storage.type": ("dynamic", "static", "none"),
    "singleuser.storage.homeMountPath": str,
    "singleuser.extraEnv": dict,
    "singleuser.networkPolicy.enabled": bool,
    "singleuser.networkPolicy.egressAllowRules.nonPrivateIPs": bool,
    "cull.enabled": bool,
    "cull.timeout": int,
    "cull.every": int,
}


@pytest.fixture
def values(repository):
    return yaml.safe_load((repository / "docs" / "classes" / "values.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def document(repository):
    return (repository / "docs" / "classes.md").read_text(encoding="utf-8")


def flat(values, above=""):
    """Every value with the path of its key."""
    for key, value in values.items():
        path = f"{above}{key}"
        if isinstance(value, dict) and path not in SCHEMA:
            yield from flat(value, f"{path}.")
        else:
            yield path, value


def test_the_chart_knows_every_value(values):
    found = dict(flat(values))
    assert len(found) > 10
    for path, value in found.items():
        allowed = SCHEMA[path]
        if isinstance(allowed, tuple) and isinstance(allowed[0], str):
            assert value in allowed, path
        else:
            # True is a number for Python
            assert isinstance(value, allowed), path
            assert isinstance(value, bool) == (allowed is bool), path


def bytes_of(text):
    """As JupyterHub reads sizes: the letters are powers of 1,024."""
    number, letter = re.fullmatch(r"(\d+)([KMGT])", text).groups()
    return int(number) * 1_024 ** ("KMGT".index(letter) + 1)


def test_limits_leave_room_for_what_was_measured(values, document):
    memory, megabyte = values["singleuser"]["memory"], 2**20
    # one notebook at a time, then all of them open
    rows = re.findall(r"^\| [^|]+ \| ([\d,]+) MiB \| ([\d,]+) MiB \|", document, re.MULTILINE)
    alone, together = ([int(number.replace(",", "")) for number in column] for column in zip(*rows, strict=True))
    assert len(alone) >= 4
    assert 2 * max(alone) <= bytes_of(memory["guarantee"]) / megabyte
    assert max(together) < bytes_of(memory["limit"]) / megabyte
    assert bytes_of(memory["guarantee"]) // megabyte == learner.GOAL
    cpu = values["singleuser"]["cpu"]
    assert 0 < cpu["guarantee"] < cpu["limit"]


def test_the_first_page_is_a_notebook(values, repository):
    place = values["singleuser"]["defaultUrl"].removeprefix("/lab/tree/")
    assert (repository / place).is_file()
    # the image's home holds the notebooks, so that no volume may lie over it
    assert values["singleuser"]["storage"]["type"] == "none"


def test_the_littlest_one_takes_ten_lines(document):
    block = re.search(r"## The Littlest JupyterHub\n.*?```\n(.*?)```", document, re.DOTALL)[1]
    assert len(block.splitlines()) == 10
    # both projects in one call, as everywhere
    assert "-e . -e ./simulator" in block


def test_both_ways_end_idle_sessions_alike(values, document):
    assert f"services.cull.timeout {values['cull']['timeout']}" in document
    assert f"limits.memory {values['singleuser']['memory']['limit']}" in document


def test_the_image_has_the_hub_that_the_text_names(repository, document):
    packages = json.loads((repository / "binder" / "base_image.json").read_text(encoding="utf-8"))["packages"]
    major = packages["jupyterhub"]["version"].partition(".")[0]
    assert f"It has JupyterHub {major} in it" in document

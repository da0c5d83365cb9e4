import pytest

from helpers import workspace
from helpers.course import progress, workshop


class FakeTarget:
    """As much of a target as a reset needs."""

    id_scope = "0ne00000A01"

    def __init__(self, *, is_simulator):
        self.is_simulator = is_simulator
        self.name = "simulator" if is_simulator else "azure"
        self.removed = 0

    def remove_simulator(self):
        self.removed += 1
        return self.is_simulator


@pytest.fixture
def filled(own_workspace):
    """Makes a target whose workspace holds something."""

    def make(**facts):
        target = FakeTarget(**facts)
        workspace.save("symmetric_key.enrollments", target, {"name": "a"})
        workspace.claim(target, "enrollment", "thermostat-001")
        progress.restore(progress.line(progress.through(["00_start_here"])))
        return target

    return make


@pytest.mark.parametrize(
    ("arguments", "link"),
    [
        (
            ("https://github.com/OWNER/REPOSITORY",),
            "https://mybinder.org/v2/gh/OWNER/REPOSITORY/main?urlpath=lab/workspaces/tutorial/tree/notebooks/00_start_here.ipynb",
        ),
        (
            (" github.com/a-b/c.d.git/ ", "june/2 "),
            "https://mybinder.org/v2/gh/a-b/c.d/june%2F2?urlpath=lab/workspaces/tutorial/tree/notebooks/00_start_here.ipynb",
        ),
        (
            ("https://github.com/a/b.git", "main", "11_symmetric_key_enroll"),
            "https://mybinder.org/v2/gh/a/b/main?urlpath=lab/tree/notebooks/11_symmetric_key_enroll.ipynb",
        ),
    ],
    ids=["plain", "odd", "another notebook"],
)
def test_the_link_opens_a_notebook_of_the_copy(arguments, link):
    assert workshop.binder_link(*arguments) == link


def test_a_link_needs_a_branch():
    with pytest.raises(ValueError, match="branch is empty"):
        workshop.binder_link("https://github.com/a/b", " ")


@pytest.mark.parametrize("answer", ["no", "", "Yes", None])
def test_without_a_yes_nothing_is_reset(filled, answer):
    target = filled(is_simulator=True)
    assert workshop.reset(target, answer) == ["Nothing was reset: the parameter says no."]
    assert target.removed == 0
    assert workspace.documents(target)
    assert progress.standings()


def test_with_a_yes_the_workspace_is_empty(filled, own_workspace):
    target = filled(is_simulator=True)
    assert workshop.reset(target, "yes") == ["The workspace is empty, as on the first day."]
    assert target.removed == 1
    assert [path for path in own_workspace.rglob("*") if path.is_file()] == []


def test_on_azure_what_was_made_must_be_removed_first(filled):
    target = filled(is_simulator=False)
    first, second = workshop.reset(target, "yes")
    assert first.startswith("Nothing was reset: 1 things")
    assert "90_clean_up" in second
    assert workspace.claimed(target)
    workspace.release(target, "enrollment", "thermostat-001")
    assert workshop.reset(target, "yes") == ["The workspace is empty, as on the first day."]
    assert workspace.documents(target) == []

"""What Binder installs fits the image that it installs onto, and the Python in it."""

import importlib.metadata
import importlib.util
import json
import re
import sys

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

#: The first release of what binder/runtime.txt asks for.
PYTHON = "3.11.0"


@pytest.fixture(scope="module")
def binder(request):
    return request.config.rootpath / "binder"


@pytest.fixture(scope="module")
def locked(binder):
    """The version and the Python of every package in the lock."""
    found = {}
    for line in (binder / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, version, python = re.fullmatch(r"(\S+)==(\S+)  # Python (.+)", line).groups()
            assert name == canonicalize_name(name)
            found[name] = version, "" if python == "any" else python
    return found


@pytest.fixture(scope="module")
def image(binder):
    """What is there before: versions, and what they need."""
    return json.loads((binder / "base_image.json").read_text(encoding="utf-8"))["packages"]


@pytest.fixture(scope="module")
def lock(binder):
    spec = importlib.util.spec_from_file_location("binder_lock", binder / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def installed_here(name, version):
    """The metadata of a package, if this machine has just this version."""
    try:
        found = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    return found if found["Version"] == version else None


def needs(name, version, image):
    """What a package needs, or ``None`` where nobody can say it here."""
    if name in image and image[name]["version"] == version:
        return [Requirement(text) for text in image[name]["requires"]]
    if installed_here(name, version) is None:
        return None
    here = [Requirement(text) for text in importlib.metadata.requires(name) or ()]
    return [need for need in here if need.marker is None or need.marker.evaluate({"extra": ""})]


def test_the_first_release_of_this_python_will_do(locked):
    for name, (version, python) in locked.items():
        assert SpecifierSet(python).contains(PYTHON), f"{name} {version} needs Python {python}; run `make binder`"


def test_what_the_lock_says_of_python_is_so(locked):
    if sys.version_info[:2] != (3, 11):
        pytest.skip("other Pythons have other versions")
    seen = 0
    for name, (version, python) in locked.items():
        found = installed_here(name, version)
        if found is not None:
            seen += 1
            assert SpecifierSet(found.get("Requires-Python", "")) == SpecifierSet(python), name
    assert seen > 40


def test_jupyterlab_is_that_of_the_image(locked, image, lock):
    """Else notebook, which comes with it, does not fit: pip warns, and its extension of JupyterLab is switched off."""
    for name in lock.LEFT_TO_THE_IMAGE:
        assert locked[name][0] == image[name]["version"]
    assert "jupyterlab" in lock.LEFT_TO_THE_IMAGE


def test_nothing_in_the_image_breaks(locked, image):
    """What ``pip check`` would look at once the lock is installed."""
    after = {name: each["version"] for name, each in image.items()}
    after |= {name: version for name, (version, _) in locked.items()}
    for name, version in after.items():
        for need in needs(name, version, image) or ():
            there = after.get(canonicalize_name(need.name))
            assert there is not None, f"{name} {version} needs {need}; run `make binder`"
            assert need.specifier.contains(there, prereleases=True), f"{name} {version} needs {need}, not {there}"


def test_what_is_there_stays_unless_something_needs_another_version(locked, image, repository):
    asked = [
        Requirement(re.split(r"\s#", line)[0])
        for line in (repository / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    for name, (version, _) in locked.items():
        asked += needs(name, version, image) or ()
    for name, (version, _) in locked.items():
        if name in image and image[name]["version"] != version:
            before = image[name]["version"]
            # what nobody here knows the needs of can be the cause only if it is not checked below
            assert any(
                canonicalize_name(need.name) == name and not need.specifier.contains(before) for need in asked
            ), f"{name} is {before} in the image and {version} in the lock, and nothing asks for it; run `make binder`"


def test_most_needs_are_known_here(locked, image):
    if sys.version_info[:2] != (3, 11):
        pytest.skip("other Pythons have other versions")
    known = [name for name, (version, _) in locked.items() if needs(name, version, image) is not None]
    assert len(known) > 0.9 * len(locked)


def test_names_of_conda(lock):
    lines = """
        https://conda.anaconda.org/conda-forge/linux-64/python-3.11.14-hfe2f287_1_cpython.conda#e87c
        https://conda.anaconda.org/conda-forge/linux-64/libzlib-1.3.1-hb9d3cd8_2.conda#0000
        https://conda.anaconda.org/conda-forge/noarch/jupyter_server-2.17.0-pyhcf101f3_0.conda#d79a
        https://conda.anaconda.org/conda-forge/linux-64/rpds-py-0.27.1-py311h902ca64_1.conda#0000
        https://conda.anaconda.org/conda-forge/noarch/nbconvert-core-7.16.6-pyhcf101f3_1.conda#0000
        https://conda.anaconda.org/conda-forge/noarch/python-dateutil-2.9.0.post0-pyhe01879c_2.conda#0000
    """
    assert lock.conda_packages(re.sub(r"(?m)^\s+", "", lines)) == {
        "jupyter_server": "2.17.0",
        "rpds-py": "0.27.1",
        "nbconvert": "7.16.6",
        "python-dateutil": "2.9.0.post0",
    }


def test_what_is_left_to_the_image_is_not_asked_for(lock):
    text = "# The notebooks.\njupyterlab==4.6.6   # where a learner works\njupyterlab-widgets==3.0.17\n"
    assert lock.wanted(text) == "# The notebooks.\njupyterlab-widgets==3.0.17\n"


def test_closure_follows_extras(lock):
    installed = {
        "a": {"requires": ["b[more]>=1"], "extras": {}},
        "b": {"requires": [], "extras": {"more": ["c"], "other": ["d"]}},
        "c": {"requires": ["a"], "extras": {}},
        "d": {"requires": [], "extras": {}},
    }
    assert lock.closure(["A==1"], installed) == ["a", "b", "c"]

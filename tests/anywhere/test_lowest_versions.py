"""The lowest versions of what the simulator needs do: a part of its tests, and the code of its README, with them."""

import sys

import pytest
from fresh_environments import Fresh, copy_of_simulator, environment, lowest, pinned, project, run_readme

#: Where the packages have their say: TLS, HTTP, WebSockets and the official clients.
PART = (
    "tests/simulator/server",
    "tests/simulator/process/test_ready_made_clients.py",
    "tests/sdk/test_symmetric_key_end_to_end.py",
)
TOOLS = ("pytest", "pytest-asyncio", "pytest-timeout", "pytest-xdist", "hypothesis", "websockets")
#: What OpenSSL says to a CONNECT request on a port for TLS is in other words in older ones.
WORDS_OF_OPENSSL = "not test_plaintext_on_the_tls_port"


def test_every_range_has_a_lower_end_and_none_names_one_version(repository):
    pins = lowest(repository)
    assert {pin.partition("==")[0] for pin in pins} >= {"aiohttp", "cryptography", "platformdirs", "pyOpenSSL"}
    for text in [*project(repository)["dependencies"], *project(repository)["optional-dependencies"]["clients"]]:
        assert ">=" in text
        assert "==" not in text.partition(";")[0]


@pytest.mark.anywhere
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="some of these have no builds for this Python")
def test_with_the_lowest_versions(repository, tmp_path):
    fresh = Fresh(tmp_path / "lowest")
    wanted = [*lowest(repository), *pinned(repository, *TOOLS), "psutil"]
    fresh.install(copy_of_simulator(repository, tmp_path), *wanted)
    # old clients warn of what newer Pythons will not have
    options = ["-q", "-n", "2", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "-k", WORDS_OF_OPENSSL]
    done = fresh.run("-m", "pytest", *options, *PART, cwd=repository, PYTHONPATH=str(repository))
    assert done.returncode == 0, (done.stdout + done.stderr)[-8_000:]
    codes, said = run_readme(fresh.python, repository, tmp_path / "foreign", environment(tmp_path))
    assert codes == [0, 0], said

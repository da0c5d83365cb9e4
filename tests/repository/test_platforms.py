"""Windows and macOS, as far as they can be tried on another system: what only some systems have, encodings, shells."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tree_sitter_powershell
from tree_sitter import Language, Parser

from dps_simulator.common import private_files
from helpers import workspace

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted(
    path
    for folder in ("helpers", "simulator/dps_simulator", "tools", ".ci")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)
#: What Windows has not, and where it may stand: behind a question for the system, or where only POSIX gets.
ONLY_POSIX = {
    "AF_UNIX": ["helpers/tpm/transports/transport.py"],
    "O_CLOEXEC": ["helpers/tpm/transports/transport.py"],
    "SIGKILL": ["helpers/tpm/transports/swtpm.py"],
    "killpg": ["helpers/tpm/transports/swtpm.py"],
    "add_signal_handler": ["helpers/runner/cli.py"],
    "sched_getaffinity": ["helpers/runner/cli.py"],
    "geteuid": ["simulator/dps_simulator/common/private_files.py"],
    "getrlimit": ["simulator/dps_simulator/server/open_files.py"],
    "start_new_session": ["helpers/tpm/transports/swtpm.py"],
    "umask": ["helpers/tpm/transports/swtpm.py"],
    **dict.fromkeys(
        ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGCHLD", "SIGALRM", "fork", "getuid", "getgid", "fchmod"), ()
    ),
    **dict.fromkeys(("chown", "fchown", "setsid", "getpgid", "mkfifo", "openpty", "preexec_fn", "pass_fds"), ()),
    **dict.fromkeys(("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "waitpid", "statvfs", "uname"), ()),
}
ONLY_POSIX_MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "pty")


def trees():
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in SOURCES]


def words(node, name):
    return {keyword.arg for keyword in node.keywords} if isinstance(node, ast.Call) and called(node) == name else None


def called(node):
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_what_only_posix_has_stands_where_only_posix_gets():
    found = {name: set() for name in ONLY_POSIX}
    for place, tree in trees():
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) else node.arg if isinstance(node, ast.keyword) else ""
            if name in found:
                found[name].add(place)
    assert {name: sorted(places) for name, places in found.items()} == {
        name: sorted(places) for name, places in ONLY_POSIX.items()
    }


def test_modules_of_one_system_are_imported_behind_a_question_for_the_system():
    for place, tree in trees():
        # what stands at the top of a module is imported everywhere
        names = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
        assert not names & {*ONLY_POSIX_MODULES, "msvcrt", "winreg"}, place


def test_every_text_file_is_read_and_written_in_a_named_encoding():
    """Windows would take the one of its language."""
    for place, tree in trees():
        for node in ast.walk(tree):
            # the encoding is the first argument of the one and the second of the other
            for name, before in {"read_text": 0, "write_text": 1}.items():
                keywords = words(node, name)
                if keywords is not None and len(node.args) <= before:
                    assert "encoding" in keywords, f"{place}:{node.lineno}"
            keywords = words(node, "open")
            if keywords is not None and isinstance(node.func, ast.Attribute) and node.args:
                mode = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
                if isinstance(mode, str) and re.fullmatch("[rwax+t]+", mode):
                    assert "encoding" in keywords, f"{place}:{node.lineno}"


def test_git_leaves_the_ends_of_lines_as_they_are():
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text(encoding="utf-8")


class AsOnWindows:
    """The module ``os`` as Windows has it: another name, and no owners, modes or links that would not be followed."""

    name = "nt"

    def __getattr__(self, name):
        if name in ("geteuid", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "fchmod", "getuid"):
            raise AttributeError(name)
        return getattr(os, name)


@pytest.fixture
def on_windows(monkeypatch):
    for module in (private_files, workspace):
        monkeypatch.setattr(module, "os", AsOnWindows())


@pytest.mark.usefixtures("on_windows")
def test_private_files_do_without_owners_and_modes(tmp_path):
    folder = private_files.private_folder(tmp_path / "a" / "ä b")
    private_files.write_private(folder / "key", "line\n")
    private_files.write_private(folder / "key", "line\nline\n")
    # no end of line is translated
    assert (folder / "key").read_bytes() == b"line\nline\n"
    os.close(private_files.open_own(folder / "key", os.O_RDWR))
    with pytest.raises(OSError, match="no file"):
        os.close(private_files.open_own(folder, os.O_RDONLY))


IMPORTS = """
import os, pkgutil, signal, socket, subprocess, sys, types, importlib

import dps_simulator, helpers


def names(package):
    return [package.__name__, *(each.name for each in pkgutil.walk_packages(package.__path__, package.__name__ + "."))]


found = [name for package in (dps_simulator, helpers) for name in names(package) if not name.endswith("__main__")]
for name in found:
    # with everything that they import from elsewhere, which is another project's business
    importlib.import_module(name)
for name in [name for name in sys.modules if name.partition(".")[0] in ("dps_simulator", "helpers")]:
    del sys.modules[name]
sys.platform = "win32"
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=None, LK_NBLCK=2)
subprocess.CREATE_NEW_PROCESS_GROUP, subprocess.DETACHED_PROCESS = 0x200, 0x8
for module, names in {
    os: ["geteuid", "getuid", "fork", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "fchmod", "killpg", "sched_getaffinity"],
    signal: ["SIGHUP", "SIGKILL", "SIGUSR1", "SIGQUIT"],
    socket: ["AF_UNIX"],
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in found:
    importlib.import_module(name)
print(len(found))
"""


def test_every_module_can_be_imported_where_there_is_nothing_of_posix(tmp_path):
    done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150


def powershell():
    """The lines of README for whoever has no make."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("# Without make (Windows)\n")[2]
    found = re.search(r"```(?:powershell)?\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`(\.venv\\[^`]+)`", text.partition("\n## ")[0])
    return [*found[1].splitlines(), *inline]


@pytest.mark.parametrize("line", powershell())
def test_the_lines_for_windows_are_powershell(line):
    root = Parser(Language(tree_sitter_powershell.language())).parse(line.encode()).root_node
    assert not root.has_error
    assert str(root).count("(command command_name") == 1


@pytest.mark.parametrize("line", ["python --a.b=c", "echo 'a", "export A=1; ls | grep 'x"])
def test_what_is_none_is_told(line):
    assert Parser(Language(tree_sitter_powershell.language())).parse(line.encode()).root_node.has_error


def test_the_lines_for_windows_do_what_the_makefile_does():
    lines, makefile = powershell(), (ROOT / "Makefile").read_text(encoding="utf-8")
    assert len(lines) >= 6
    for option in re.findall(r"--[A-Z]\w+\.\w+=\S+", makefile):
        assert any(option in line for line in lines), option

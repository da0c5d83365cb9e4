"""One rule for the state folder, and one for the program's name: what one command prints, the next one can use."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest
from simulator_processes import COMMAND, ROOT, Served, environment

from dps_simulator import __main__ as command_line
from dps_simulator.process import launcher, program
from dps_simulator.settings import state_folder
from dps_simulator.settings.settings import SettingsError
from helpers import workspace

SCRIPT = shutil.which("dps-simulator", path=Path(sys.executable).parent)
needs_script = pytest.mark.skipif(SCRIPT is None, reason="needs the installed command dps-simulator")


@pytest.fixture(autouse=True)
def _own_folders(own_environment, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def of_serve(*arguments):
    return command_line._settings(command_line._parser().parse_args(["serve", *arguments])).state


def of(verb, *arguments):
    return command_line._state(command_line._parser().parse_args([verb, *arguments]))


class TestStateFolder:
    @pytest.mark.parametrize(
        ("arguments", "variables", "expected"),
        [
            ([], {}, "workspace/simulator"),
            ([], {"DPS_WORKSPACE": "~/mine"}, "home/mine/simulator"),
            ([], {"DPS_WORKSPACE": "  {}/spaced  "}, "spaced/simulator"),
            ([], {"DPS_WORKSPACE": "beside"}, "beside/simulator"),
            ([], {"DPS_SIMULATOR_STATE": "{}/variable"}, "variable"),
            ([], {"DPS_SIMULATOR_STATE": "~/variable"}, "home/variable"),
            ([], {"DPS_SIMULATOR_STATE": ""}, "workspace/simulator"),
            (["--state", "{}/flag"], {"DPS_SIMULATOR_STATE": "{}/variable"}, "flag"),
            (["--state", "relative"], {}, "relative"),
            (["--state", "~/flag"], {}, "home/flag"),
            (["--config", "{}/settings/simulator.toml"], {}, "settings/of-the-file"),
            (["--config", "{}/settings/simulator.toml"], {"DPS_SIMULATOR_STATE": "{}/variable"}, "variable"),
            (["--config", "{}/settings/simulator.toml", "--state", "{}/flag"], {}, "flag"),
        ],
    )
    def test_the_same_words_mean_the_same_folder_everywhere(
        self, tmp_path, monkeypatch, arguments, variables, expected
    ):
        (tmp_path / "settings").mkdir()
        (tmp_path / "settings" / "simulator.toml").write_text('state = "of-the-file"\n')
        monkeypatch.setenv("DPS_WORKSPACE", str(tmp_path / "workspace"))
        for name, value in variables.items():
            monkeypatch.setenv(name, value.replace("{}", str(tmp_path)))
        words = [word.replace("{}", str(tmp_path)) for word in arguments]
        for found in (of_serve(*words), *(of(verb, *words) for verb in ("status", "stop", "reset"))):
            assert found == tmp_path / expected
        if not words:
            # notebooks cannot be given words
            assert workspace.simulator_state() == tmp_path / expected
            assert workspace.simulator_state().is_absolute()

    def test_without_any_word_it_lies_in_the_checkout(self, monkeypatch, tmp_path):
        monkeypatch.delenv("DPS_WORKSPACE")
        assert of_serve() == of("status") == ROOT / ".workspace" / "simulator"

    @pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names the folder that other systems have")
    def test_installed_as_a_package_it_lies_with_the_data_of_the_user(self, monkeypatch, tmp_path):
        monkeypatch.delenv("DPS_WORKSPACE")
        monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        monkeypatch.setattr(state_folder, "_ROOT", tmp_path / "lib")
        # whatever lies among the packages
        (tmp_path / "lib" / ".workspace").mkdir(parents=True)
        (tmp_path / "lib" / "pyproject.toml").touch()
        assert of_serve() == of("status") == tmp_path / "home/.local/share/dps-workspace/simulator"
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        assert of_serve() == of("status") == tmp_path / "data/dps-workspace/simulator"
        # what an earlier version kept is still found
        (tmp_path / "home" / ".dps-workspace").mkdir(parents=True)
        assert of_serve() == of("stop") == tmp_path / "home/.dps-workspace/simulator"

    def test_without_a_home_somebody_has_to_name_a_folder(self, monkeypatch, tmp_path):
        def homeless(*_):
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(state_folder, "_ROOT", tmp_path)
        monkeypatch.setattr(state_folder.Path, "home", homeless)
        monkeypatch.setattr(platformdirs, "user_data_path", lambda name, **_: Path("~/.local/share") / name)
        with pytest.raises(SettingsError, match="name a folder in DPS_WORKSPACE"):
            state_folder.workspace({})

    @pytest.mark.parametrize("variable", ["DPS_WORKSPACE", "DPS_SIMULATOR_STATE"])
    def test_a_folder_that_is_none_is_named_with_its_variable(self, monkeypatch, capsys, variable):
        monkeypatch.setenv(variable, "~nobody-of-that-name/x")
        with pytest.raises(SettingsError, match=variable):
            state_folder.state(os.environ)
        assert command_line.main(["status"]) == 2
        assert variable in capsys.readouterr().err
        with pytest.raises(workspace.WorkspaceError, match=variable):
            workspace.simulator_state()

    def test_in_memory_and_a_folder_exclude_each_other(self, monkeypatch, capsys):
        assert of_serve("--in-memory") is None
        monkeypatch.setenv("DPS_SIMULATOR_STATE", "/somewhere")
        assert of_serve("--in-memory") is None
        assert command_line.main(["serve", "--in-memory", "--state", "x"]) == 2
        assert "give one of them" in capsys.readouterr().err

    def test_what_serve_runs_is_found_by_all_others_from_anywhere(self, tmp_path):
        env = environment(DPS_WORKSPACE=str(tmp_path / "workspace"))
        (tmp_path / "elsewhere").mkdir()

        def say(verb, *arguments):
            result = subprocess.run(
                [*COMMAND, verb, "--json", *arguments],
                env=env,
                cwd=tmp_path / "elsewhere",
                capture_output=True,
                text=True,
                check=True,
            )
            return json.loads(result.stdout)

        with Served("--json", env=env, cwd="/") as served:
            status = say("status")
            assert (status["running"], status["process_id"]) == (True, served.process.pid)
            assert status["current_code"] is True
            assert Path(status["endpoint_file"]).is_absolute()
            assert launcher.ensure_running(tmp_path / "workspace" / "simulator").process_id == served.process.pid
            assert say("reset") == {"reset": True}
            assert say("stop") == {"stopped": True}
            assert served.process.wait(60) == 0


class TestName:
    """Usage, errors and hints say the name by which the program was called."""

    @needs_script
    @pytest.mark.parametrize("called", ["by path", "by name", "from its folder", "as a module"])
    def test_hints_work_as_they_stand(self, tmp_path, called):
        folder = Path(SCRIPT).parent
        start, cwd, path = {
            "by path": ([SCRIPT], tmp_path, os.defpath),
            "by name": (["dps-simulator"], tmp_path, f"{folder}:{os.defpath}"),
            "from its folder": (["./dps-simulator"], folder, os.defpath),
            "as a module": ([sys.executable, "-m", "dps_simulator"], tmp_path, os.defpath),
        }[called]
        env = environment(PATH=path)
        # what a newcomer would read
        name = program.quoted(*start)
        usage = subprocess.run([*start, "stop", "--help"], env=env, cwd=cwd, capture_output=True, text=True, check=True)
        assert usage.stdout.startswith(f"usage: {name} stop")
        missing = subprocess.run([*start], env=env, cwd=cwd, capture_output=True, text=True, check=False)
        assert f"{name}: error: " in missing.stderr
        state = tmp_path / "a state of mine"
        state.mkdir(mode=0o700)
        (state / "simulator.sqlite3").write_bytes(b"this is no database " * 100)
        words = [*start, "serve", "--state", str(state)]
        damaged = subprocess.run(words, env=env, cwd=cwd, capture_output=True, text=True, check=False)
        hint = re.search(r"`(.*)`", damaged.stderr)[1]
        assert hint == f"{name} reset --state {program.quoted(str(state))}"
        subprocess.run(hint, shell=True, env=env, cwd=cwd, check=True, stdout=subprocess.DEVNULL)  # noqa: S602
        assert not (state / "simulator.sqlite3").exists()

    def test_in_a_program_that_is_something_else(self, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, "argv", ["/usr/lib/ipykernel_launcher.py"])
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        assert program.name() == f"{tmp_path / 'python'} -m dps_simulator"
        (tmp_path / "dps-simulator").write_text("")
        (tmp_path / "dps-simulator").chmod(0o755)
        assert program.name() == str(tmp_path / "dps-simulator")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert program.command_line("stop", "--state", "a b") == "dps-simulator stop --state 'a b'"
        monkeypatch.setattr(sys, "argv", [])
        assert program.name() == "dps-simulator"

    def test_an_example_is_one_of_this_program(self, capsys):
        assert command_line.main(["run"]) == 2
        assert f"`{program.name()} run -- python device.py`" in capsys.readouterr().err

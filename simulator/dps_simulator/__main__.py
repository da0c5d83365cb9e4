"""The command line: ``dps-simulator serve|run|status|stop|reset``, also as ``python -m dps_simulator``.

All but ``run`` are about one state folder, found by one rule: see :mod:`~dps_simulator.settings.state_folder`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from dps_simulator.common.private_files import FolderError, FolderLock
from dps_simulator.errors.masking import mask_in_name
from dps_simulator.process.address import FILE_NAME, RunningSimulator
from dps_simulator.process.store import empty
from dps_simulator.process.store_errors import StoreError
from dps_simulator.settings import state_folder
from dps_simulator.settings.settings import KEYS, Key, Settings, load
from dps_simulator.settings.values import SettingsError

from .process import fingerprint, launcher, log, program, replacement, streams
from .runtime import SimulatorError, SimulatorRuntime, version
from .server import event_loop, open_files
from .services import LASTING_COLLECTIONS
from .simulator import Simulator

#: Exit codes.
OK, FAILED, MISUSED, NOT_RUNNING = 0, 1, 2, 3
#: What shells say of a program that was ended by signal n: 128 + n.
_BY_SIGNAL = 128
#: Signals that end ``serve``, and those that ``run`` hands on to its program.
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (0 done, 1 failed, 2 misused, 3 nothing is running)."""
    streams.make_usable()
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: list[str] = []
    if "--" in given and given[:1] == ["run"]:
        position = given.index("--")
        given, command = given[:position], given[position + 1 :]
    # before more of it can change
    fingerprint.loaded()
    options = _parser().parse_args(given)
    log.begin()
    try:
        return _execute(options, command)
    except SettingsError as error:
        return _complain(str(error), MISUSED)
    except (SimulatorError, StoreError, FolderError, launcher.LaunchError) as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return _BY_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        # nobody reads any more; the interpreter shall not find that out again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _execute(options: argparse.Namespace, command: Sequence[str]) -> int:
    if options.command in {"serve", "run"}:
        open_files.raise_limit()
    if options.command == "serve":
        return event_loop.run(_serve(_settings(options), as_json=options.json))
    if options.command == "run":
        return _run(_settings(options), command)
    state = _state(options)
    return {"status": _status, "stop": _stop, "reset": _reset}[options.command](state, options.json)


def _parser() -> argparse.ArgumentParser:
    called = program.name()
    parser = argparse.ArgumentParser(
        prog=called,
        allow_abbrev=False,
        description="A Device Provisioning Service and its IoT hubs on this machine. It is not Azure.",
    )
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|run|status|stop|reset")
    serve = commands.add_parser("serve", help="run in the foreground until SIGINT or SIGTERM", allow_abbrev=False)
    serve.add_argument("--json", action="store_true", help="print the ready line as JSON")
    run = commands.add_parser(
        "run",
        help="start a program with an environment that sends it to a simulator of its own",
        usage=f"{called} run [options] -- PROGRAM [ARGUMENT ...]",
        allow_abbrev=False,
    )
    for command in (serve, run):
        command.epilog = "Keys are read from the file or from the environment only: " + "; ".join(
            f"{key.name} is the {key.help} [{key.variable}]" for key in KEYS if key.secret
        )
        command.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the keys below")
        for key in KEYS:
            _add_flag(command, key)
    for name, text in (
        ("status", "tell whether a simulator runs on the state folder, and how to reach it"),
        ("stop", "stop the simulator that runs on the state folder"),
        ("reset", "forget all enrollments, registrations and devices"),
    ):
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        command.add_argument("--config", type=Path, metavar="FILE", help="TOML file that may name the state folder")
        command.add_argument("--json", action="store_true", help="answer in JSON")
        _add_flag(command, next(key for key in KEYS if key.name == "state"))
    serve.add_argument("--in-memory", action="store_true", help="keep nothing: use no state folder at all")
    return parser


def _add_flag(command: argparse.ArgumentParser, key: Key) -> None:
    text = f"{key.help} [{key.variable}]"
    if key.secret:
        # a key on the command line could be read by every user of the machine
        return
    if key.switch:
        command.add_argument(key.flag, dest=key.destination, action="store_true", help=text)
    elif key.repeated:
        command.add_argument(
            key.flag, dest=key.destination, action="append", metavar="VALUE", help=f"{text}; may be repeated"
        )
    else:
        command.add_argument(key.flag, dest=key.destination, metavar="VALUE", help=text)


def _settings(options: argparse.Namespace) -> Settings:
    """The settings of ``serve``, which has a state folder unless told not to, and of ``run``, which has one if told."""
    settings = load(file=options.config, environment=os.environ, flags=vars(options))
    if options.command == "run":
        return settings
    if options.in_memory:
        if options.state is not None:
            raise SettingsError("--in-memory uses no state folder, and --state names one; give one of them.")
        return replace(settings, state=None)
    return replace(settings, state=_absolute(settings.state))


def _state(options: argparse.Namespace) -> Path:
    """The state folder that the same words would give to ``serve``."""
    variable = state_folder.STATE_VARIABLE
    environment = {variable: os.environ[variable]} if variable in os.environ else {}
    return _absolute(load(file=options.config, environment=environment, flags={"state": options.state}).state)


def _absolute(state: Path | None) -> Path:
    """In full, so that what is printed leads there from everywhere."""
    return state_folder.state(os.environ) if state is None else state.absolute()


async def _serve(settings: Settings, *, as_json: bool) -> int:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def request_stop(*_: object) -> None:
        # a second signal may come when the loop has ended already
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stopping.set)

    # before anything is opened, so that what was opened is closed again
    _handle(_ENDING, request_stop)
    if settings.state is not None:
        log.keep_short(settings.state / launcher.LOG_NAME)
    async with AsyncExitStack() as stack:
        runtime = await SimulatorRuntime.open(stack, settings)
        # what is loaded now stays; the garbage collector need not look at it again and again
        gc.collect()
        gc.freeze()
        asked = asyncio.ensure_future(stopping.wait())
        asked.add_done_callback(lambda _: runtime.stopping.set())
        stack.callback(asked.cancel)
        _say(_ready_line(runtime.running, runtime.endpoint_file, as_json=as_json))
        if settings.development and not as_json:
            # published, and so no secret
            _say(f"development: {runtime.service_connection_string}")
        await runtime.run_until_stopped()
    return OK


def _handle(names: Sequence[str], handler: Callable[..., object]) -> dict[int, Any]:
    """Have signals handled where this system knows them; returns what handled them before."""
    previous: dict[int, Any] = {}
    for name in names:
        number = getattr(signal, name, None)
        # nohup makes a program ignore SIGHUP, and means it
        if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
            previous[number] = signal.signal(number, handler)
    return previous


def _ready_line(running: RunningSimulator, endpoint_file: Path, *, as_json: bool) -> str:
    if as_json:
        return json.dumps({"ready": True, **running.public_json(), "endpoint_file": str(endpoint_file)})
    return f"ready: {_description(running, endpoint_file)}"


def _description(running: RunningSimulator, endpoint_file: Path) -> str:
    hubs = ", ".join(hub.host for hub in running.hubs)
    also = "".join(f" and {port}" for port in running.standard_ports)
    return (
        f"ID scope {running.id_scope}, devices at {running.provisioning_host}, enrollments at "
        f"{running.service_host}, hubs {hubs}; on {running.address} the proxy has port {running.proxy_port}, "
        f"TLS {running.tls_port}{also}; trust {running.certificate_authority_file}; keys in {endpoint_file}"
    )


def _run(settings: Settings, command: Sequence[str]) -> int:
    if not command:
        example = program.command_line("run", "--", "python", "device.py")
        return _complain(f"name the program after `--`, e.g. `{example}`.", MISUSED)
    with _handed_on() as relay, Simulator(settings) as simulator:
        if relay.received:
            return _BY_SIGNAL + relay.received
        try:
            process = subprocess.Popen(command, env=simulator.environment())
        except (OSError, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            return _complain(f"the program {command[0]!r} cannot be started: {reason}.", MISUSED)
        relay.attach(process)
        code = process.wait()
    return code if code >= 0 else _BY_SIGNAL - code


class _Relay:
    """Hands signals on to the program, which decides when to end."""

    def __init__(self) -> None:
        self.received = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._handed_on = 0

    def __call__(self, number: int, _: object) -> None:
        self.received = number
        self._handed_on = 0
        self._hand_on()

    def attach(self, process: subprocess.Popen[bytes]) -> None:
        """The program runs. It gets what came while it was being started, too."""
        self._process = process
        self._hand_on()

    def _hand_on(self) -> None:
        # the terminal sends SIGINT to the program itself
        if self._process is None or self.received in (0, self._handed_on, signal.SIGINT):
            return
        self._handed_on = self.received
        self._process.send_signal(self.received)


@contextlib.contextmanager
def _handed_on() -> Iterator[_Relay]:
    relay = _Relay()
    previous = _handle(_ENDING, relay)
    try:
        yield relay
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _status(state: Path, as_json: bool) -> int:
    running = launcher.find(state)
    if running is None:
        # one that hangs is not the same as none
        if FolderLock(state / launcher.LOCK_NAME).is_taken():
            return _complain(_unresponsive(state), FAILED)
        _say(json.dumps({"running": False}) if as_json else f"No simulator runs on {state}.")
        return NOT_RUNNING
    endpoint_file = state / FILE_NAME
    current = running.code == replacement.here().fingerprint
    if as_json:
        document = {"running": True, **running.public_json(), "endpoint_file": str(endpoint_file)}
        _say(json.dumps({**document, "current_code": current}))
    else:
        _say(f"running (process {running.process_id}): {_description(running, endpoint_file)}")
        if not current:
            _say("It runs other code than this one. " + _what_to_do(state, running))
    return OK


def _what_to_do(state: Path, running: RunningSimulator) -> str:
    if replacement.is_background(running, state / launcher.LOG_NAME):
        return "The next notebook that connects replaces it; what it knows is kept."
    return "Somebody started it by hand: end it there and start it again; what it knows is kept."


def _unresponsive(state: Path) -> str:
    holder = FolderLock(state / launcher.LOCK_NAME).holder() or "unknown"
    return f"a simulator that does not answer (process {holder}) uses {state}; end that process."


def _stop(state: Path, as_json: bool) -> int:
    stopped = launcher.stop(state)
    if as_json:
        _say(json.dumps({"stopped": stopped}))
    else:
        _say("stopped" if stopped else f"No simulator runs on {state}.")
    return OK if stopped else NOT_RUNNING


def _reset(state: Path, as_json: bool) -> int:
    running = launcher.find(state)
    if running is not None:
        try:
            launcher.manage(running, "POST", "/reset")
        except OSError as error:
            raise launcher.LaunchError(f"The simulator stopped meanwhile: {error}") from error
    elif state.is_dir():
        lock = FolderLock(state / launcher.LOCK_NAME)
        if not lock.acquire():
            return _complain(_unresponsive(state), FAILED)
        try:
            # what the management API does to one in use
            empty(state, keep=LASTING_COLLECTIONS)
        finally:
            lock.release()
    _say(json.dumps({"reset": True}) if as_json else f"{state} holds no enrollments, registrations or devices.")
    return OK


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(text: str, code: int) -> int:
    # paths and names are given by people, who may have pasted something else
    sys.stderr.write(f"error: {mask_in_name(text)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

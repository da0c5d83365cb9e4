"""The command line: ``python -m helpers.simulator serve|run|status|stop|reset``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from . import launcher
from .private_files import FolderLock
from .running import FILE_NAME, RunningSimulator
from .runtime import SimulatorError, SimulatorRuntime, version
from .settings import KEYS, Settings, SettingsError, load
from .simulator import Simulator
from .store import FILE_NAME as STORE_NAME
from .store import StoreError

_PACKAGE = __package__ or "helpers.simulator"

#: Exit codes.
OK, FAILED, MISUSED, NOT_RUNNING = 0, 1, 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (0 done, 1 failed, 2 misused, 3 nothing is running)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command: list[str] = []
    if "--" in given and given[:1] == ["run"]:
        position = given.index("--")
        given, command = given[:position], given[position + 1 :]
    options = _parser().parse_args(given)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if options.command == "serve":
            return asyncio.run(_serve(_settings(options), as_json=options.json))
        if options.command == "run":
            return _run(_settings(options), command)
        state = options.state or _default_state(os.environ)
        return {"status": _status, "stop": _stop, "reset": _reset}[options.command](state, options.json)
    except SettingsError as error:
        return _complain(str(error), MISUSED)
    except (SimulatorError, StoreError, launcher.LaunchError) as error:
        return _complain(str(error), FAILED)
    except KeyboardInterrupt:
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {_PACKAGE}",
        description="A Device Provisioning Service and its IoT hubs on this machine. It is not Azure.",
    )
    parser.add_argument("--version", action="version", version=version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="serve|run|status|stop|reset")
    serve = commands.add_parser("serve", help="run in the foreground until SIGINT or SIGTERM")
    serve.add_argument("--json", action="store_true", help="print the ready line as JSON")
    run = commands.add_parser(
        "run",
        help="start a program with an environment that sends it to a simulator of its own",
        usage=f"python -m {_PACKAGE} run [options] -- PROGRAM [ARGUMENT ...]",
    )
    for command in (serve, run):
        command.add_argument("--config", type=Path, metavar="FILE", help="TOML file with the keys below")
        for key in KEYS:
            text = f"{key.help} [{key.variable}]"
            if key.secret:
                # a key on the command line could be read by every user of the machine
                continue
            if key.switch:
                command.add_argument(key.flag, dest=key.destination, action="store_true", help=text)
            elif key.repeated:
                command.add_argument(
                    key.flag, dest=key.destination, action="append", metavar="VALUE", help=f"{text}; may be repeated"
                )
            else:
                command.add_argument(key.flag, dest=key.destination, metavar="VALUE", help=text)
    for name, text in (
        ("status", "tell whether a background simulator runs, and how to reach it"),
        ("stop", "stop the background simulator"),
        ("reset", "forget all enrollments, registrations and devices"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--state", type=Path, metavar="FOLDER", help="its state folder [DPS_SIMULATOR_STATE]")
        command.add_argument("--json", action="store_true", help="answer in JSON")
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    return load(file=options.config, environment=os.environ, flags=vars(options))


def _default_state(environment: Mapping[str, str]) -> Path:
    """The state folder that the notebooks use, unless the environment names another."""
    if environment.get("DPS_SIMULATOR_STATE"):
        return Path(environment["DPS_SIMULATOR_STATE"])
    root = Path(__file__).resolve().parents[len(_PACKAGE.split("."))]
    workspace = environment.get("DPS_WORKSPACE")
    return (Path(workspace) if workspace else root / ".workspace") / "simulator"


async def _serve(settings: Settings, *, as_json: bool) -> int:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        runtime = await SimulatorRuntime.open(stack, settings)
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(runtime.stopping.set))
        # what is loaded now stays; the garbage collector need not look at it again and again
        gc.collect()
        gc.freeze()
        _say(_ready_line(runtime.running, as_json=as_json))
        await runtime.run_until_stopped()
    return OK


def _ready_line(running: RunningSimulator, *, as_json: bool) -> str:
    endpoint_file = running.certificate_authority_file.parent / FILE_NAME
    if as_json:
        return json.dumps({"ready": True, **running.public_json(), "endpoint_file": str(endpoint_file)})
    hubs = ", ".join(hub.host for hub in running.hubs)
    return (
        f"ready: ID scope {running.id_scope}, devices at {running.provisioning_host}, enrollments at "
        f"{running.service_host}, hubs {hubs}; proxy 127.0.0.1:{running.proxy_port}, TLS 127.0.0.1:{running.tls_port}; "
        f"trust {running.certificate_authority_file}; keys in {endpoint_file}"
    )


def _run(settings: Settings, command: Sequence[str]) -> int:
    if not command:
        return _complain("name the program after `--`, e.g. `run -- python device.py`.", MISUSED)
    with Simulator(settings) as simulator:
        environment = {**os.environ, **simulator.running.environment()}
        # NO_PROXY could lead the program past the simulator, to the real Azure
        for name in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "https_proxy", "mqtt_proxy", "SSL_CERT_DIR"):
            environment.pop(name, None)
        try:
            process = subprocess.Popen(command, env=environment)
        except OSError as error:
            return _complain(f"{command[0]} cannot be started: {error.strerror or error}.", MISUSED)
        while True:
            try:
                code = process.wait()
                break
            except KeyboardInterrupt:
                # the terminal sent the program the same signal; it decides when to end
                continue
    return code if code >= 0 else 128 - code


def _status(state: Path, as_json: bool) -> int:
    running = launcher.find(state)
    if running is None:
        _say(json.dumps({"running": False}) if as_json else f"No simulator runs on {state}.")
        return NOT_RUNNING
    if as_json:
        _say(json.dumps({"running": True, **running.public_json()}))
    else:
        _say(f"running (process {running.process_id}): {_ready_line(running, as_json=False).split(': ', 1)[1]}")
    return OK


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
        launcher.manage(running, "POST", "/reset")
    elif state.is_dir():
        lock = FolderLock(state / launcher.LOCK_NAME)
        if not lock.acquire():
            return _complain(f"A simulator that does not answer (process {lock.holder()}) uses {state}.", FAILED)
        try:
            for name in (STORE_NAME, f"{STORE_NAME}-wal", f"{STORE_NAME}-shm"):
                (state / name).unlink(missing_ok=True)
        finally:
            lock.release()
    _say(json.dumps({"reset": True}) if as_json else f"{state} holds no enrollments, registrations or devices.")
    return OK


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(text: str, code: int) -> int:
    sys.stderr.write(f"error: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""swtpm: a complete TPM 2.0 in software, as a program beside this one.

It needs no rights and no port, keeps its state in a folder, and serves one client.

Source: the manual page ``swtpm(8)``.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from dps_simulator.rules import make_folders
from helpers.tpm.errors import TpmConnectionError, TpmError, TpmUnavailableError

from .transport import Closing, SocketTransport, Transport, check_socket_path, connect_unix

TIMEOUT = 10.0

INSTALL = (
    "Install it (Debian and Ubuntu: sudo apt-get install --no-install-recommends swtpm, macOS: brew install swtpm), "
    "or use the embedded TPM, which needs nothing."
)

#: TPM2_GetTestResult: changes nothing, and is answered as soon as the TPM is there.
_PROBE = bytes.fromhex("8001 0000000a 0000017c")
#: As after power-on and TPM2_Startup, so that nothing but commands is needed.
_STARTED = ["--flags", "not-need-init,startup-clear"]
_POLL_PAUSE = 0.005
#: What swtpm may need to end once it was told to, and to be gone after its connection broke.
_END_TIMEOUT = 5.0
_LOG_LINES = 3
_LOG_SIZE = 4_096


class _Transport:
    """The way to swtpm, which knows why it does not answer any more. May be used by several threads."""

    def __init__(self, program: Swtpm, connection: SocketTransport) -> None:
        self._program = program
        self._connection = connection
        self._closed = False
        self._lock = threading.Lock()

    def exchange(self, command: bytes) -> bytes:
        """Send a command and give the response."""
        with self._lock:
            if self._closed or self._program.is_closed:
                raise TpmConnectionError("This TPM was closed. Open it again.")
            try:
                return self._connection.exchange(command)
            except TpmConnectionError as error:
                if isinstance(error.__cause__, TimeoutError):
                    # a late answer would be taken for that to the next command
                    self._closed = True
                    raise
                if not (ending := self._program.ending()):
                    raise
                raise TpmConnectionError(ending) from error

    def close(self) -> None:
        """Let the TPM go; swtpm ends with its only connection."""
        self._closed = True
        self._program.close()


class Swtpm(Closing):
    """A running swtpm, which ends with this process, however that ends.

    Arguments:
        folder: where it keeps its state: one folder is one TPM. Made when it is missing.
        timeout: how many seconds to wait for its start, and for every answer.

    Raises:
        TpmUnavailableError: it does not start; says why and what to do.
    """

    def __init__(self, folder: Path, *, timeout: float = TIMEOUT) -> None:
        self._folder = Path(folder).absolute()
        self._timeout = timeout
        binary = shutil.which("swtpm")
        if binary is None:
            raise TpmUnavailableError(f"swtpm is not installed. {INSTALL}")
        try:
            make_folders(self._folder)
        except OSError as error:
            raise TpmUnavailableError(
                f"The folder {self._folder} for the state of swtpm cannot be made ({error.strerror or error}). "
                "Choose another."
            ) from error
        with ExitStack() as stack:
            # without a name: nothing of it stays
            self._log: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            self._transport = _Transport(self, self._start(binary, stack))
            self._end = weakref.finalize(self, stack.pop_all().close)

    @property
    def is_running(self) -> bool:
        """Whether its process runs, and :meth:`close` was not called."""
        return not self.is_closed and self._process.poll() is None

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return not self._end.alive

    def transport(self) -> Transport:
        """The way to it, the same on every call. It may be used by several threads, and closing it ends swtpm.

        Raises:
            TpmUnavailableError: it runs no more.
        """
        if not self.is_running:
            raise TpmUnavailableError("This TPM was closed. Open it again." if self.is_closed else self.ending())
        return self._transport

    def close(self) -> None:
        """End it; its state stays in the folder. Closing twice is fine."""
        self._end()

    def ending(self) -> str:
        """How it ended, as a sentence for the user; empty while it runs."""
        try:
            # its connections break a moment before it is gone
            code = self._process.wait(min(_END_TIMEOUT, self._timeout))
        except subprocess.TimeoutExpired:
            return ""
        return f"swtpm ended in the middle of the work ({self._reason(code)}). Open the TPM again: its keys are kept."

    # --- starting -----------------------------------------------------------------------------------------------

    def _start(self, binary: str, stack: ExitStack) -> SocketTransport:
        with _temporary_folder() as short:
            path = short / "tpm"
            try:
                check_socket_path(path)
            except TpmUnavailableError as error:
                raise TpmUnavailableError(
                    f"{error} It is the folder for temporary files: set TMPDIR to a shorter one, for example /tmp."
                ) from error
            # one connection for its whole life, with which it ends: so it cannot outlive us
            self._run(binary, ["--terminate", "--server", f"type=unixio,path={path},mode=0600"], short / "pid", stack)
            connection = self._until_it_answers(path, short / "pid")
        stack.callback(connection.close)
        return connection

    def _run(self, binary: str, arguments: list[str], pid_file: Path, stack: ExitStack) -> None:
        pid = ["--pid", f"file={pid_file}"]
        try:
            self._process = subprocess.Popen(
                # the folder is named by where it runs: a comma in its name would be taken for the next option
                [binary, "socket", "--tpm2", "--tpmstate", "dir=.,mode=0600", *_STARTED, *arguments, *pid],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                umask=0o077,
                # an interrupt of the notebook goes to a whole group of processes, and is not meant for the TPM
                start_new_session=True,
            )
        except OSError as error:
            raise TpmUnavailableError(f"swtpm cannot be run ({error.strerror or error}). {INSTALL}") from error
        stack.callback(_stop, self._process)

    def _until_it_answers(self, path: Path, pid_file: Path) -> SocketTransport:
        deadline = time.monotonic() + self._timeout
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise self._failed_start(code)
            # written when it listens
            if pid_file.exists():
                # it may be about to end all the same
                with suppress(TpmError):
                    connection = connect_unix(path, self._timeout)
                    connection.exchange(_PROBE)
                    return connection
            time.sleep(_POLL_PAUSE)
        raise TpmUnavailableError(f"swtpm did not start within {self._timeout:g} seconds ({self._log_text()}).")

    def _failed_start(self, code: int) -> TpmUnavailableError:
        log = self._log_text()
        if "lockfile" in log and "lock access" in log:
            return TpmUnavailableError(
                f"The TPM in {self._folder} is in use already. Close it in the other notebook (or restart its kernel), "
                "or in the earlier cell that opened it; or choose another folder, which is another TPM."
            )
        return TpmUnavailableError(
            f"swtpm ended at its start ({self._reason(code)}). Its state is in {self._folder}; "
            "in another folder it begins as a new TPM."
        )

    # --- how it ended -------------------------------------------------------------------------------------------

    def _reason(self, code: int) -> str:
        if self._log.closed:
            # by us: whether it ended by itself, as its client had gone, or by our signal, is chance
            return f"it was closed; {self._log_text()}"
        if code < 0:
            return f"killed by signal {-code}"
        return f"exit status {code}: {self._log_text()}"

    def _log_text(self) -> str:
        """The last lines of its log."""
        try:
            size = os.fstat(self._log.fileno()).st_size
            # not read(): that would move the place where swtpm goes on writing
            text = os.pread(self._log.fileno(), _LOG_SIZE, max(0, size - _LOG_SIZE)).decode("utf-8", "replace")
        except ValueError:  # closed in the meantime
            text = ""
        lines = [line.strip().removeprefix("swtpm: ") for line in text.splitlines() if line.strip()]
        return "; ".join(lines[-_LOG_LINES:]) or "it said nothing"


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for the start only, which only we can enter."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="tpm-", ignore_cleanup_errors=True)
    except OSError as error:
        raise TpmUnavailableError(
            f"swtpm needs a folder for temporary files, and none can be made ({error.strerror or error}). Set TMPDIR."
        ) from error
    with folder as place:
        yield Path(place)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End swtpm."""
    process.terminate()
    try:
        process.wait(_END_TIMEOUT)
    except subprocess.TimeoutExpired:
        # its own session has nobody else in it
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

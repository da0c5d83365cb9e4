"""Executes one notebook in a kernel of its own and tells how that went."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import leaks
from .documents import Parameter, code_cells

if TYPE_CHECKING:
    from nbclient import NotebookClient
    from nbformat import NotebookNode

KERNEL = "python3"
# Windows has no Unix domain sockets for ZeroMQ; there the connection is encrypted, if the kernel can.
TRANSPORT = "tcp" if sys.platform == "win32" else "ipc"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_START_TIMEOUT = 60


@dataclass(slots=True)
class Outcome:
    """How the run of one notebook went.

    Attributes:
        notebook: its file.
        status: ``passed``, ``failed``, ``interrupted`` (stopped by the person) or ``not run``.
        seconds: time from the start of the kernel to its end.
        cell: number of the failing cell as Jupyter shows it, ``In [cell]``; 0 when no cell is to blame.
        error: first line of the error.
        document: the executed notebook, as far as it came.
    """

    notebook: Path
    status: str = "not run"
    seconds: float = 0.0
    cell: int = 0
    error: str = ""
    document: NotebookNode | None = None

    @property
    def name(self) -> str:
        """The notebook's name without its ending."""
        return self.notebook.stem

    def fail(self, error: str, cell: int = 0) -> None:
        """Record the first failure; later ones follow from it.

        Arguments:
            error: what went wrong; the first line of it is kept, without secrets.
            cell: number of the cell as Jupyter shows it, 0 when none is to blame.
        """
        if self.status != "failed":
            self.status, self.error, self.cell = "failed", first_line(error), cell


def without_colours(text: str) -> str:
    """The text as a file shows it, not a terminal."""
    return _ANSI.sub("", text)


def first_line(text: str) -> str:
    """The first line of a text that says something: up to 300 characters, without colours and secrets."""
    lines = [line.strip() for line in without_colours(text).splitlines() if line.strip()]
    line = leaks.masked(lines[0] if lines else "no text")
    return line if len(line) <= 300 else line[:299] + "…"


def with_parameters(document: NotebookNode, values: Mapping[str, Parameter]) -> NotebookNode:
    """The notebook with a cell of injected parameters after its parameters cell, as papermill writes it."""
    # it takes most of a second to import, and not every command of the runner needs it
    import papermill  # noqa: PLC0415

    # papermill expects what its own reader adds
    document.metadata.setdefault("papermill", {})
    for cell in document.cells:
        cell.metadata.setdefault("tags", [])
    return papermill.parameterize.parameterize_notebook(document, dict(values))


def kernel_manager(scratch: Path) -> Any:
    """A manager for one kernel of this very interpreter, not started yet.

    Arguments:
        scratch: a folder for its sockets and files, with a short path: that of a socket has at most 100 characters.
    """
    from jupyter_client.kernelspec import KernelSpecManager  # noqa: PLC0415
    from jupyter_client.manager import AsyncKernelManager  # noqa: PLC0415

    specification = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "metadata": {"supported_encryption": ["curve"]},
    }
    folder = scratch / "kernels" / KERNEL
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(specification), encoding="utf-8")
    return AsyncKernelManager(
        kernel_name=KERNEL,
        kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder.parent)], ensure_native_kernel=False),
        transport=TRANSPORT,
        transport_encryption="auto" if TRANSPORT == "tcp" else "disabled",
        connection_file=str(scratch / "k.json"),
    )


async def execute(
    outcome: Outcome,
    document: NotebookNode,
    *,
    scratch: Path,
    environment: Mapping[str, str],
    cell_timeout: float,
    on_cell: Callable[[], None] = lambda: None,
) -> None:
    """Execute all cells of a notebook, up to the first that fails, and record that in ``outcome``.

    A cell fails by an exception, by taking too long, and by writing to stderr (a warning is one): what learners
    should not see must not be in a run that passes.

    Arguments:
        outcome: takes the result; its ``document`` grows while cells run.
        document: the notebook; outputs of an earlier run are dropped.
        scratch: an empty folder with a short path for the kernel's files (socket paths are limited to 100 characters).
        environment: variables of the kernel on top of this process's.
        cell_timeout: seconds for one cell.
        on_cell: called after every code cell.
    """
    began = time.monotonic()
    outcome.document = document
    if not code_cells(document):
        # a page, such as the glossary, needs no kernel
        outcome.status = "passed"
        return
    for cell in code_cells(document):
        cell.outputs, cell.execution_count = [], None
    from nbclient import NotebookClient  # noqa: PLC0415 - other commands do without what runs kernels

    manager = kernel_manager(scratch)
    client = NotebookClient(document, km=manager, timeout=math.ceil(cell_timeout), startup_timeout=_START_TIMEOUT)
    variables = {**os.environ, "IPYTHONDIR": str(scratch / "ipython"), **environment}
    # cells do not write there, so it is empty unless something is wrong
    log = (scratch / "kernel.log").open("wb")
    try:
        await client.async_start_new_kernel(
            env=variables, cwd=str(outcome.notebook.resolve().parent), stdout=log, stderr=log
        )
        await client.async_start_new_kernel_client()
        await execute_cells(client, document, outcome, on_cell)
        # time for devices to say goodbye
        await manager.shutdown_kernel(now=False)
    except asyncio.CancelledError:
        outcome.status = "interrupted"
        raise
    except (RuntimeError, OSError) as error:
        # a kernel that cannot start; the reason is in what it wrote before it died
        written = _tail(scratch / "kernel.log")
        outcome.fail(f"The kernel could not be started: {error} {written}")
    finally:
        await _discard_kernel(client, manager)
        log.close()
        outcome.seconds = time.monotonic() - began


async def execute_cells(
    client: NotebookClient,
    document: NotebookNode,
    outcome: Outcome,
    on_cell: Callable[[], None] = lambda: None,
) -> None:
    """Execute the cells of a notebook in a kernel that runs, up to the first that fails.

    Arguments:
        client: its kernel is started, and its channels are open.
        document: the notebook.
        outcome: takes the result; see :func:`execute` for what counts as a failure.
        on_cell: called after every code cell.
    """
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError  # noqa: PLC0415

    number = 0
    for index, cell in enumerate(document.cells):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        number += 1
        try:
            await client.async_execute_cell(cell, index, execution_count=number)
        except CellExecutionError as error:
            outcome.fail(f"{error.ename}: {error.evalue}", number)
        except CellTimeoutError:
            outcome.fail(f"The cell did not end within {client.timeout:g} seconds.", number)
        except DeadKernelError:
            if await client.km.is_alive():
                # nbclient takes being cancelled for the kernel's death
                raise asyncio.CancelledError from None
            outcome.fail("The kernel died.", number)
        else:
            written = "".join(out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stderr")
            if written.strip():
                outcome.fail(f"The cell wrote to stderr: {first_line(written)}", number)
            found = leaks.secrets(json.dumps(cell.outputs, ensure_ascii=False).replace('\\"', '"'))
            if found:
                outcome.fail(f"The output holds {' and '.join(found)}.", number)
        on_cell()
        if outcome.status == "failed":
            return
    outcome.status = "passed"


async def _discard_kernel(client: NotebookClient, manager: Any) -> None:
    """Close the channels and remove the files of a kernel, and kill it if it still lives."""
    if client.kc is not None:
        client.kc.stop_channels()
    if manager.has_kernel:
        await manager.shutdown_kernel(now=True)
    manager.cleanup_connection_file()
    manager.context.destroy(linger=0)


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    return text.splitlines()[-1] if text else ""


def mask_outputs(document: NotebookNode) -> None:
    """Replace secrets in outputs by their mask, so that even a failed run can be kept and shown."""
    for cell in code_cells(document):
        cell.outputs = [_masked(output) for output in cell.outputs]


def _masked(node: Any) -> Any:
    if isinstance(node, str):
        return leaks.masked(node)
    if isinstance(node, list):
        return [_masked(item) for item in node]
    if isinstance(node, dict):
        from nbformat import NotebookNode  # noqa: PLC0415

        return NotebookNode({key: _masked(value) for key, value in node.items()})
    return node

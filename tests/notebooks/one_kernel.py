"""One kernel in which cells run one by one, as a learner runs them: again, changed, or out of order."""

import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from helpers.runner.documents import NOTEBOOKS, code_cells, read, tags
from helpers.runner.execution import KERNEL, TRANSPORT, kernel_manager
from dps_simulator.process import launcher

#: What a new kernel would have made of it: nobody knows a name any more.
FORGET = "get_ipython().run_line_magic('reset', '-f')"


@dataclass(frozen=True)
class Ran:
    """What came of a cell.

    Attributes:
        cell: what to call it.
        error: name and text of an exception, or what was written to stderr; empty when all went well.
        shown: what it printed and displayed, as text.
    """

    cell: str
    error: str
    shown: str


class OneKernel:
    """A kernel with a workspace of its own, and a simulator that answers at once.

    Used as a context manager.
    """

    def __enter__(self):
        # socket paths are short, so this does not go where pytest puts its folders
        self._scratch = Path(tempfile.mkdtemp(prefix="one-"))
        self._workspace = self._scratch / "workspace"
        kernel_manager(self._scratch)  # writes how a kernel of this very interpreter is started
        self._manager = KernelManager(
            kernel_name=KERNEL,
            kernel_spec_manager=KernelSpecManager(
                kernel_dirs=[str(self._scratch / "kernels")], ensure_native_kernel=False
            ),
            transport=TRANSPORT,
            connection_file=str(self._scratch / "k.json"),
        )
        environment = {**os.environ, "DPS_WORKSPACE": str(self._workspace), "DPS_SIMULATOR_PACE": "instant"}
        environment["IPYTHONDIR"] = str(self._scratch / "ipython")
        self._manager.start_kernel(env=environment, cwd=str(NOTEBOOKS), stdout=sys.stderr)
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=120)
        return self

    def __exit__(self, *_):
        try:
            self._client.stop_channels()
            self._manager.shutdown_kernel(now=False)
            self._manager.cleanup_connection_file()
            self._manager.context.destroy(linger=0)
        finally:
            launcher.stop(self._workspace / "simulator")
            shutil.rmtree(self._scratch, ignore_errors=True)

    def run(self, source, cell=""):
        """Run some lines and give what came of them."""
        errors, shown = [], []

        def hear(message):
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                # one text may come in several messages, as the kernel found time to send
                (errors if content["name"] == "stderr" else shown).append(content["text"])
            elif kind == "error":
                errors.append(f"{content['ename']}: {content['evalue']}")
            elif kind in ("execute_result", "display_data"):
                shown.append("\n" + content["data"].get("text/plain", "") + "\n")

        self._client.execute_interactive(source, output_hook=hear, timeout=200, allow_stdin=False)
        return Ran(cell, "".join(errors).strip(), "".join(shown))

    def run_notebook(self, name, *, times=1, sources=None, parameters=None, after=None):
        """Run the cells of a notebook in order; gives the outcomes of all.

        Arguments:
            name: of the notebook.
            times: how often to run each cell before the next.
            sources: text of cells by their ids, in place of what stands there.
            parameters: values in place of the defaults.
            after: further lines to run after the cell of this id.
        """
        outcomes = []
        for cell in code_cells(read(NOTEBOOKS / f"{name}.ipynb")):
            source = (sources or {}).get(cell.id, cell.source)
            if "parameters" in tags(cell):
                source += "".join(f"\n{key} = {value!r}" for key, value in (parameters or {}).items())
            outcomes += [self.run(source, cell.id) for _ in range(times)]
            if cell.id in (after or {}):
                outcomes.append(self.run(after[cell.id], f"after {cell.id}"))
        return outcomes


def failures(outcomes):
    """The outcomes that no learner should see."""
    return [f"{each.cell}: {each.error}" for each in outcomes if each.error]

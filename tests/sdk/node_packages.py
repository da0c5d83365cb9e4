"""The official packages for Node, unmodified: scripts in ``tests/node`` that take JSON and answer with JSON."""

import json
import os
import shutil
import subprocess

from other_programs import skip
from patience import PATIENCE


class Node:
    """Runs a script with the packages, which gets what it is given and nothing else of this project."""

    def __init__(self, repository, running):
        self.folder = repository / "tests" / "node"
        self.running = running
        if shutil.which("node") is None:
            skip("Node.js is not installed")
        if not (self.folder / "node_modules" / "ready").exists():
            skip("the packages for Node are not installed: run make test-clients")

    def run(self, script, **settings):
        environment = {name: value for name, value in os.environ.items() if not name.upper().endswith("PROXY")}
        environment["NODE_EXTRA_CA_CERTS"] = str(self.running.certificate_authority_file)
        done = subprocess.run(
            ["node", script],
            cwd=self.folder,
            env=environment,
            input=json.dumps(settings),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stderr == ""
        answer = json.loads(done.stdout)
        assert ("error" in answer) == (done.returncode != 0), answer
        return answer

import json
import sys

import pytest

#: Answers as the real program does: with what its first words stand for, and with 3 when something is not there.
PROGRAM = """#!{python}
import json, sys
from pathlib import Path
folder = Path(__file__).parent
line = " ".join(sys.argv[1:])
with (folder / "asked").open("a") as asked:
    asked.write(line + "\\n")
for start, (code, answer, said) in json.loads((folder / "answers.json").read_text()).items():
    if line.startswith(start):
        print(answer, end="")
        print(said, end="", file=sys.stderr)
        sys.exit(code)
"""


@pytest.fixture
def az(tmp_path, monkeypatch):
    """A program ``az`` that says what it is told to; returns what sets its answers and what tells the questions."""
    if sys.platform == "win32":
        pytest.skip("the program is a script with a shebang")
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "az"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o700)
    (folder / "asked").touch()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def answers(**given):
        texts = {start.replace("_", " "): answer for start, answer in given.items()}
        (folder / "answers.json").write_text(json.dumps(texts))
        return lambda: (folder / "asked").read_text().splitlines()

    return answers

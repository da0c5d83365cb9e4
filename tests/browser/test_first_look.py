"""What somebody sees first: the layout that Binder opens, and the picture in the README."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = os.environ.get("DPS_SCREENSHOTS")


def test_binder_opens_the_first_notebook_with_its_table_of_contents(lab, learner):
    # as Binder starts a session; this JupyterLab keeps its layouts in the folder that the variable names
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(lab.folder / "config"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    subprocess.run([ROOT / "binder" / "start", "true"], env=environment, check=True, timeout=PATIENCE)
    page = learner.page
    page.goto(f"{lab}/lab/workspaces/tutorial/tree/notebooks/00_start_here.ipynb?token=test")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    contents = page.locator(".jp-TableOfContents-tree").filter(visible=True)
    contents.get_by_text("You will", exact=True).first.wait_for()
    assert learner.tab("00_start_here.ipynb").count() == 1
    assert page.locator(".jp-Launcher").filter(visible=True).count() == 0
    assert page.locator(".jp-Dialog").count() == 0
    learner.picture("binder", page.get_by_text("Start here").first)


@pytest.mark.anywhere
def test_the_picture_in_the_readme(learner):
    """A lesson that has run, at its picture; `make screenshots` puts it into `docs/pictures/`."""
    learner.run_all("12_symmetric_key_start.ipynb")
    learner.see("thermostat-001 is assigned")
    shown = learner.page.locator(".jp-OutputArea-output svg[role='img']")
    picture = learner.find(shown)
    assert learner.failures() == 0
    if SCREENSHOTS is None:
        return
    folder = Path(SCREENSHOTS) / "readme"
    folder.mkdir(parents=True, exist_ok=True)
    for theme, label in learner.THEMES.items():
        learner.theme(label)
        picture = learner.find(shown)
        learner.page.wait_for_timeout(500)
        diagram = picture.bounding_box()
        panel = learner.page.locator(".jp-WindowedPanel-outer").filter(visible=True).first.bounding_box()
        # the heading and the code above it, and what one should see below
        top = max(panel["y"], diagram["y"] - 235)
        clip = {"x": panel["x"], "y": top, "width": panel["width"] - 16}
        raw = learner.page.screenshot(clip={**clip, "height": diagram["y"] + diagram["height"] + 130 - top})
        with Image.open(io.BytesIO(raw)) as image:
            # few colours are enough for text and lines, and a third of the bytes
            image.convert("RGB").quantize(64).save(folder / f"first-device-{theme}.png", optimize=True)


def test_what_the_readme_shows_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for theme in ("light", "dark"):
        name = f"docs/pictures/first-device-{theme}.png"
        assert name in text
        assert (ROOT / name).stat().st_size < 200_000

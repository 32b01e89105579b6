"""The wheel is complete: installed in an empty environment, away from the checkout, it samples and trains."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]


def pip(*args: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    offline = ("--no-deps", "--no-build-isolation", "--no-index")
    pip("wheel", *offline, "--wheel-dir", str(folder), str(CHECKOUT))
    (path,) = folder.glob("ganctl-*.whl")
    return path


def test_wheel_holds_the_package_the_configuration_and_the_assets(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    conf = {f"ganctl/{p.relative_to(CHECKOUT)}" for p in (CHECKOUT / "conf").rglob("*.yaml")}
    code = {str(p.relative_to(CHECKOUT)) for p in (CHECKOUT / "ganctl").rglob("*.py")}
    assets = {str(p.relative_to(CHECKOUT)) for p in (CHECKOUT / "ganctl" / "assets").iterdir()}
    assert "ganctl/conf/experiment/quick.yaml" in conf
    assert {"ganctl/assets/digits.npz", "ganctl/assets/generator_mnist.safetensors"} <= assets
    web = {str(p.relative_to(CHECKOUT)) for p in (CHECKOUT / "ganctl" / "web").iterdir() if p.is_file()}
    assert {"ganctl/web/template.html", "ganctl/web/style.css", "ganctl/web/script.js"} <= web
    typed = "ganctl/py.typed"  # or type checkers take every name of the package for Any
    assert not (conf | code | assets | web | {typed}) - names
    info = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    strangers = {name for name in names - info if not name.startswith("ganctl/")}
    assert not strangers, "tests, scripts or runs are in the wheel"
    assert not {name for name in names if name.endswith((".pyc", ".ckpt", ".wandb"))}
    assert any(name.endswith("entry_points.txt") for name in info)
    assert any(name.endswith("LICENSE") for name in info)


def test_installed_wheel_samples_and_trains_without_the_checkout(
    wheel: Path, command: Callable[..., Any], tmp_path: Path
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True, timeout=300)
    python = venv / "bin" / "python"
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    # The dependencies of this environment, without its own ganctl: an editable install hangs on a .pth file,
    # which is not read in a folder that itself came from one. Behind the new environment's own packages.
    paths = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(paths) + "\n")

    away = tmp_path / "away"
    away.mkdir()
    code = "import ganctl, ganctl.config as c, json; print(json.dumps([ganctl.__file__, str(c.conf_dir())]))"
    found = command(cwd=away, program=[str(python), "-c", code])
    assert found.returncode == 0, found.stderr
    for place in json.loads(found.stdout):
        assert Path(place).resolve().is_relative_to(packages.resolve())

    sampled = command(
        "sample", "--n", "1", "--out", "x.png", cwd=away, program=[str(venv / "bin" / "ganctl")]
    )
    assert sampled.returncode == 0, sampled.stderr
    assert (away / "x.png").read_bytes().startswith(b"\x89PNG")

    options = ("+experiment=quick", "data=digits", "trainer.max_steps=5")
    done = command("train", *options, cwd=away, program=[str(venv / "bin" / "ganctl")])
    assert done.returncode == 0, done.stderr
    (run,) = (away / "runs" / "quick").iterdir()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train/d_loss" in row] == [1, 2, 3, 4, 5]
    assert "val/label_accuracy" in {key for row in rows for key in row}  # the classifier came along
    assert (run / "checkpoints" / "last.ckpt").is_file()

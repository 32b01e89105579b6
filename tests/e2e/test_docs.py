"""What README and docs show works: the commands of each page are run in their order, and its Python too.

The commands are made cheap first: digits for data, a few steps, a few images. `GANCTL_DOCS=full` runs them
as they stand, which takes hours and wants the data.
"""

from __future__ import annotations

import glob
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs_commands import PAGES, ROOT, Block, Command, all_blocks, all_commands

pytestmark = pytest.mark.slow

FULL = os.environ.get("GANCTL_DOCS") == "full"

# What pages call runs of the reader's.
A_RUN = "runs/dcgan/2026-01-31_12-00-00"
COPIES = (
    "runs/quick/2026-01-31_12-00-00",
    "runs/quick/2026-01-31_13-00-00",
    "runs/dcgan/seed0",
    "runs/dcgan/seed1",
    "runs/fashion0",
)

# Nothing that this test could run: what else sees to it.
ELSEWHERE = {
    "make": "a test below looks for the target",
    "python": "a test below looks for the script and its options",
    "pip": "the tests of the wheel install it",
    "sbatch": "SLURM, which tests/e2e/test_two_ranks.py plays",
    "tensorboard": "another program",
    "wandb": "another program",
    "hf": "another program",
}
NOT_HERE = {
    ("data", "fetch"): "wants a network; tests/unit/test_fetch.py has a server of its own",
    ("pull",): "wants a network; tests/unit/test_hub.py has a server of its own",
    ("--install-completion",): "writes into the home folder; tests/unit/test_completion.py has another",
}
# The commands and the snippets of these pages are run, with what they need, in another test.
COMMANDS_ELSEWHERE = {"own-pictures.md": "tests/e2e/test_pictures_page.py"}
SNIPPETS_ELSEWHERE = {"export.md": "tests/unit/test_export.py"}

TRAIN = ["data=digits", "data.batch_size=32", "callbacks.evaluate.num_gen=64", "trainer.max_steps=3"]


def arguments(command: Command) -> list[str] | str:
    """What `ganctl` is called with; or why it is not called."""
    words = list(command.words)
    if words[0] in ("torchrun", "srun"):
        words = [word for word in words[words.index("ganctl") :] if word != "--"]
    if words[0] in ELSEWHERE:
        return ELSEWHERE[words[0]]
    assert words[0] == "ganctl", f"{command}: no command; a block of something else is ```text"
    for start, reason in NOT_HERE.items():
        if tuple(words[1 : 1 + len(start)]) == start:
            return reason
    return words[1:] if FULL else cheap(words[1:])


def cheap(words: list[str]) -> list[str]:
    """The same command with little to do. Of several processes one does it."""
    verb = words[0]
    if verb in ("train", "sweep") and "--dry-run" not in words and words[1:2] != ["show"]:
        several = any(word in ("-m", "--multirun") for word in words)
        words = [*_fewer(words, "--trials", 1), *(["--dry-run"] if several else [])]
        drop = ("trainer=", "trainer.", "data=", "data.", "callbacks.evaluate")
        kept = [word for word in words if not word.lstrip("+").startswith(drop)]
        return [*kept, *TRAIN]
    if verb == "train-classifier":
        return [*words, "--steps", "5"]
    if verb == "resume":
        return [*[word for word in words if "max_epochs" not in word], "trainer.max_steps=5"]
    if verb == "sample":
        return _fewer(words, "--n", 8)
    if verb == "eval":
        words = ["digits" if word in ("mnist", "fashion") else word for word in words]
        words = _with(words, "--features", "classifier")
        return [*_fewer(words, "--n", 64), *([] if "--n" in words else ["--n", "64"])]
    if words[:2] == ["data", "show"]:
        return ["data", "show", "digits", *words[3:]]
    if verb == "push":  # into a folder instead of to the Hub
        return [word.replace("user/", "./") for word in words]
    return words


def _fewer(words: list[str], option: str, most: int) -> list[str]:
    if option not in words:
        return words
    i = words.index(option) + 1
    return [*words[:i], str(min(int(words[i]), most)), *words[i + 1 :]]


def _with(words: list[str], option: str, value: str) -> list[str]:
    if option in words:
        i = words.index(option)
        words = [*words[:i], *words[i + 2 :]]
    return [*words, option, value]


# -- running them ------------------------------------------------------------------------------------------


def _in(folder: str, env: dict[str, str], work: Callable[..., None], *args: Any) -> None:
    """The beginning of a process that does one piece of work; what it prints goes to `said`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    with open("said", "wb") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    work(*args)


def _call(words: list[str]) -> None:
    from ganctl import cli

    # as a shell does
    words = [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    cli.app(words, prog_name="ganctl")


def _execute(code: str, name: str) -> None:
    exec(compile(code, name, "exec"), {"__name__": "__main__"})


@pytest.fixture(scope="module")
def run(users_environment: dict[str, str]) -> Callable[..., tuple[int, str]]:
    """run(folder, _call, words) does it in a process of its own that has imported all that is slow."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["ganctl.train", "ganctl.evaluate", "ganctl.sample", "ganctl.compare"])

    def run(folder: Path, work: Callable[..., None], *args: Any) -> tuple[int, str]:
        process = processes.Process(target=_in, args=(str(folder), users_environment, work, *args))
        process.start()
        process.join(None if FULL else 240)
        if process.is_alive():
            process.kill()
            process.join()
        assert process.exitcode is not None
        return process.exitcode, (folder / "said").read_text(errors="replace")

    return run


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, run: Callable[..., tuple[int, str]]) -> Path:
    """A folder as the reader of a page has it: a run, pictures, two reports."""
    folder = tmp_path_factory.mktemp("desk")
    few = ["--features", "classifier", "--metrics", "fast", "--n", "64"]
    for words in (
        cheap(["train", "+experiment=quick", "run.dir=runs/quick_seed1"]),
        cheap(["train", "+experiment=dcgan", f"run.dir={A_RUN}"]),
        ["sample", "--ckpt", A_RUN, "--n", "8", "--outdir", "pictures"],
        ["eval", "--ckpt", A_RUN, *few, "--out", "a.eval.json"],
        ["eval", "--ckpt", A_RUN, *few, "--out", "b.eval.json"],
    ):
        code, said = run(folder, _call, words)
        assert code == 0, said
    for copy in COPIES:
        shutil.copytree(folder / A_RUN, folder / copy)
    return folder


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in COMMANDS_ELSEWHERE], ids=lambda page: page.name
)
def test_every_command_works(
    page: Path, desk: Path, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "desk"
    shutil.copytree(desk, folder)
    wrong = []
    for command in all_commands():
        if command.page != page:
            continue
        if command.words[0] == "mv":
            source, target = (folder / word for word in command.words[1:])
            shutil.move(source, target)
            continue
        words = arguments(command)
        if isinstance(words, str):
            continue
        code, said = run(folder, _call, words)
        if words[0] == "doctor" and code == 1:
            assert "mnist" in said  # which is not on this machine
            continue
        if (code != 0) != (command.fails and FULL) and not (command.fails and code in (1, 2, 3)):
            wrong.append(f"{command}\n  as {words}\n  ended with {code}: {said[-600:]}")
    assert not wrong, "\n\n".join(wrong)


# -- snippets ----------------------------------------------------------------------------------------------


def _python(page: Path) -> list[Block]:
    return [block for block in all_blocks() if block.page == page and block.language == "python"]


def _is_excerpt(block: Block) -> bool:
    """Lines of our own code that are shown, not a program."""
    return "import " not in block.text


PYTHON_PAGES = [
    page
    for page in PAGES
    if any(not _is_excerpt(block) for block in _python(page)) and page.name not in SNIPPETS_ELSEWHERE
]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=lambda page: page.name)
def test_every_snippet_works(
    page: Path, desk: Path, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    """Those of a page one after the other, each with what the ones before have made."""
    folder = tmp_path / "desk"
    shutil.copytree(desk, folder)
    code = "\n".join(block.text for block in _python(page) if not _is_excerpt(block))
    exit_code, said = run(folder, _execute, code, page.name)
    assert exit_code == 0, said


def test_every_excerpt_is_in_the_code() -> None:
    def plain(line: str) -> str:
        return re.sub(r"\s+", "", line.partition("  #")[0])

    source = {
        plain(line) for path in (ROOT / "ganctl").rglob("*.py") for line in path.read_text().splitlines()
    }
    excerpts = [block for page in PAGES for block in _python(page) if _is_excerpt(block)]
    assert excerpts
    missing = [line for block in excerpts for line in block.text.splitlines() if plain(line) not in source]
    assert missing == []


# -- what is not run ---------------------------------------------------------------------------------------


def test_every_target_and_every_option_of_a_script_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    seen = set()
    for command in all_commands():
        program, *rest = command.words
        seen.add(program)
        if program == "make":
            targets = [word for word in rest if "=" not in word]
            for target in targets:
                assert re.search(rf"^{target}:", makefile, re.MULTILINE), command
        elif program == "python" and rest[0] != "-m":
            source = (ROOT / rest[0]).read_text(encoding="utf-8")
            for option in (word for word in rest[1:] if word.startswith("--")):
                assert f'"{option.partition("=")[0]}"' in source, f"{command}: {option}"
    assert {"make", "ganctl"} <= seen


def test_what_is_no_command_is_seen() -> None:
    with pytest.raises(AssertionError, match="no command"):
        arguments(Command(Path("page.md"), 1, ("gnactl", "train")))
    assert arguments(Command(Path("p.md"), 1, ("ganctl", "data", "fetch", "mnist"))) != []

"""What is pushed, what is pulled, and what is refused: against repositories in memory, and in folders."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import errors
from PIL import Image
from typer.testing import CliRunner

from ganctl import checkpoint, cli, config, runs
from ganctl.data.dataset import DatasetFacts
from ganctl.errors import GanctlError, UsageError
from ganctl.networks.mlp import Generator
from ganctl.report import read_report
from ganctl.sharing import hub, hub_client, recipe
from ganctl.snapshot import Snapshot

REPO = hub.Repo("me/digits")
ALL = {"model.safetensors", "README.md", "eval.json", "samples.png"}


def answered(kind: type[errors.HfHubHTTPError], status: int) -> errors.HfHubHTTPError:
    response: Any = SimpleNamespace(headers={}, request=None, status_code=status)
    return kind("https://user:SECRET@hub", response=response)


class Hub:
    """The methods of `huggingface_hub.HfApi` that are used; a commit is all files of a repository."""

    def __init__(self) -> None:
        self.commits: list[dict[str, bytes]] | None = None
        self.private = False
        self.claims: dict[str, int] = {}  # sizes that the Hub states of files
        self.sends: dict[str, bytes] = {}  # what it sends instead
        self.downloaded: list[str] = []

    def model_info(
        self, repo_id: str, *, revision: str | None = None, files_metadata: bool = False
    ) -> SimpleNamespace:
        assert repo_id == REPO.name
        if self.commits is None:
            raise answered(errors.RepositoryNotFoundError, 404)
        if revision not in (None, *(f"sha{i}" for i in range(len(self.commits)))):
            raise answered(errors.RevisionNotFoundError, 404)
        number = len(self.commits) - 1 if revision is None else int(revision[3:])
        files = self.commits[number] if self.commits else {}
        card = files.get("README.md", b"").decode().split("---")
        sizes = {name: self.claims.get(name, len(c)) if files_metadata else None for name, c in files.items()}
        return SimpleNamespace(
            sha=f"sha{number}",
            private=self.private,
            tags=yaml.safe_load(card[1])["tags"] if len(card) > 2 else [],
            siblings=[SimpleNamespace(rfilename=name, size=size) for name, size in sizes.items()],
        )

    def create_repo(self, repo_id: str, *, private: bool | None = None) -> None:
        assert self.commits is None
        self.commits, self.private = [], bool(private)

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, commit_message: str, delete_patterns: list[str]
    ) -> SimpleNamespace:
        assert self.commits is not None
        kept = {k: v for k, v in (self.commits or [{}])[-1].items() if k not in delete_patterns}
        self.commits.append(kept | {file.name: file.read_bytes() for file in folder_path.iterdir()})
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/{len(self.commits) - 1}")

    def hf_hub_download(
        self, repo_id: str, filename: str, *, revision: str, local_dir: Path, tqdm_class: Any
    ) -> str:
        assert self.commits is not None
        self.downloaded.append(filename)
        content = self.sends.get(filename, self.commits[int(revision[3:])][filename])
        with (
            tqdm_class(total=len(content), unit="B", desc=filename) as bar,
            (local_dir / filename).open("wb") as f,
        ):
            for start in range(0, len(content), 1000):
                f.write(content[start : start + 1000])
                bar.update(len(content[start : start + 1000]))
        return str(local_dir / filename)


def small(seed: int = 0, names: tuple[str, ...] = ("shirt", "<b>|`x`")) -> Snapshot:
    torch.manual_seed(seed)
    G = Generator(4, num_classes=len(names), channels=1, resolution=8, widths=(16, 32))
    return Snapshot(
        config={"run": {"dir": "SECRET"}, "data": {"root": "SECRET"}, "logger": "SECRET", "seed": 3},
        facts=DatasetFacts("clothes", names, 1, 8, (5,) * len(names)),
        latent_dim=4,
        generator={"_target_": "ganctl.networks.mlp.Generator", "widths": [16, 32]},
        ema=dict(G.state_dict()),
        nimg=1234567,
        steps=1,
        wandb_id="SECRET",
        versions={"ganctl": "1.2.3"},
    )


def write_report(path: Path, digest: str) -> None:
    protocol: dict[str, Any] = {"data": "clothes", "real": "some images", "num_real": 70, "floor": "others"}
    protocol |= {"num_gen": 60, "labels": "at random", "extractors": {}, "checkpoint": digest, "seed": 5}
    protocol |= {"device": "cpu", "versions": {}, "timings": {}}
    metrics = {
        "fid": {"value": 4.25, "floor": 1.5},
        "is_mean": {"value": None, "floor": None, "reason": "no last layer"},
    }
    path.write_text(json.dumps({"schema": 1, "metrics": metrics, "protocol": protocol}))


@pytest.fixture
def ckpt(tmp_path: Path) -> Path:
    """Where the checkpoint would lie: its report is there."""
    write_report(tmp_path / "last.eval.json", small().digest)
    return tmp_path / "last.ckpt"


def test_a_folder_gets_exactly_what_is_uploaded_and_nothing_private(ckpt: Path, tmp_path: Path) -> None:
    client, folder = Hub(), tmp_path / "folder"
    url = hub.push(ckpt, small(), REPO, license_name="mit", client=client)
    hub.push(ckpt, small(), folder, license_name="mit")
    assert url == "https://hub/me/digits/commit/0"
    assert client.commits == [{file.name: file.read_bytes() for file in folder.iterdir()}]
    assert set(client.commits[0]) == ALL
    for content in client.commits[0].values():
        assert b"SECRET" not in content
        assert str(tmp_path).encode() not in content


def test_what_was_pushed_is_pulled_and_older_commits_stay(ckpt: Path, tmp_path: Path) -> None:
    client = Hub()
    for seed in (0, 1):
        hub.push(ckpt, small(seed), REPO, client=client)
    path, snapshot, revision = hub.pull(REPO, tmp_path / "new", client=client)
    assert (path, revision) == (tmp_path / "new" / "model.safetensors", "sha1")
    assert snapshot.digest == small(1).digest
    assert {file.name for file in path.parent.iterdir()} == {"model.safetensors", "README.md"}
    assert client.commits is not None
    assert path.read_bytes() == client.commits[1]["model.safetensors"]
    assert "eval.json" not in client.commits[1]  # of the first one's weights
    old, *_ = hub.pull(replace(REPO, revision="sha0"), tmp_path / "old", client=client)
    assert checkpoint.read(old).digest == small(0).digest


def test_the_card(ckpt: Path, tmp_path: Path) -> None:
    hub.push(ckpt, small(), tmp_path / "a", license_name="cc-by-4.0")
    text = (tmp_path / "a" / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["license"] == "cc-by-4.0"
    assert {"ganctl", "class-conditional"} <= set(header["tags"])
    assert "| `fid` | 4.25 | 1.5 |  |" in text
    assert "| `is_mean` | – | – | no last layer |" in text
    assert "60 generated images, seeds from 5" in text
    assert read_report(tmp_path / "a" / "eval.json").metrics["fid"].value == 4.25
    assert r"shirt, \<b\>\|\`x\`" in text
    assert "1,234,567" in text
    assert small().digest in text
    assert "samples.png" in text
    with Image.open(tmp_path / "a" / "samples.png") as picture:
        assert picture.width > picture.height  # a row for each of two labels, eight seeds


def test_a_card_without_labels_licence_or_scores_says_so(tmp_path: Path) -> None:
    hub.push(tmp_path / "last.ckpt", small(names=()), tmp_path / "a")
    text = (tmp_path / "a" / "README.md").read_text()
    assert "license" not in yaml.safe_load(text.split("---")[1])
    assert "has not said under which licence" in text
    assert "None were computed" in text
    assert "--label" not in text
    assert not (tmp_path / "a" / "eval.json").exists()


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["+experiment=mlp"], "lsgan loss, R1 γ 0, R2 γ 0; Adam"),
        (["model.discriminator.head=acgan"], "R2 γ 0.1, class loss × 1 (head acgan); Adam"),
        (["loss.reg_interval=4"], "R2 γ 0.1, both at one batch of 4, × 4; Adam"),
        (["loss=wgan_gp"], "wgan_gp loss, R1 γ 0, R2 γ 0, gradient penalty × 10; Adam"),
        (
            ["data=cifar10", "loss=hinge", "loss.lecam_weight=0.3", "augment=ada"],
            "R2 γ 0, LeCam × 0.3, half of the real images mirrored, augmentation ada; Adam",
        ),
    ],
)
def test_a_recipe_in_words_leaves_out_what_is_off(overrides: list[str], words: str) -> None:
    trained = config.compose([*overrides, "trainer.precision=32"]).model_dump()
    assert words in recipe.in_words(trained)
    # as configurations were before there was a choice
    for section, key in (
        ("loss", "lecam_weight"),
        ("loss", "class_weight"),
        ("loss", "reg_interval"),
        ("data", "flip"),
    ):
        del trained[section][key]
    trained["model"]["discriminator"].pop("head", None)
    assert "; Adam" in recipe.in_words(trained)


def test_the_recipe_of_the_bundled_generator_is_on_its_card(tmp_path: Path) -> None:
    snapshot = checkpoint.read(runs.BUNDLED)
    hub.push(tmp_path / "x.ckpt", snapshot, tmp_path / "a")
    text = (tmp_path / "a" / "README.md").read_text()
    assert "| training | `ganctl train +experiment=dcgan trainer.precision=bf16` |" in text
    assert "relativistic loss, R1 γ 0.1, R2 γ 0.1, class loss × 0.1 (head projection\\_acgan); Adam" in text


def test_a_report_of_other_weights_is_left_out(ckpt: Path, tmp_path: Path) -> None:
    write_report(tmp_path / "last.eval.json", small(1).digest)
    hub.push(ckpt, small(), tmp_path / "a")
    assert not (tmp_path / "a" / "eval.json").exists()
    assert "4.25" not in (tmp_path / "a" / "README.md").read_text()


def test_what_somebody_else_wrote_is_not_replaced(ckpt: Path, tmp_path: Path) -> None:
    client = Hub()
    client.commits = [{"README.md": b"a book", ".gitattributes": b""}]
    with pytest.raises(UsageError, match="holds something else"):
        hub.push(ckpt, small(), REPO, client=client)
    assert len(client.commits) == 1
    hub.push(ckpt, small(), REPO, client=client, force=True)
    assert len(client.commits) == 2

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "README.md").write_text("a book")
    with pytest.raises(UsageError, match="a exists"):
        hub.push(ckpt, small(), tmp_path / "a")
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["README.md"]
    hub.push(ckpt, small(), tmp_path / "a", force=True)
    assert {file.name for file in (tmp_path / "a").iterdir()} == ALL


def test_an_empty_repository_is_used_and_a_private_push_is_not_made_public(ckpt: Path) -> None:
    client = Hub()
    client.commits = [{".gitattributes": b""}]
    with pytest.raises(UsageError, match="is public"):
        hub.push(ckpt, small(), REPO, private=True, client=client)
    assert len(client.commits) == 1
    hub.push(ckpt, small(), REPO, client=client)
    assert len(client.commits) == 2

    fresh = Hub()
    hub.push(ckpt, small(), REPO, private=True, client=fresh)
    assert fresh.private


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda hub: hub.commits[0].pop("model.safetensors"), "has no model.safetensors"),
        (lambda hub: hub.claims.update({"model.safetensors": 3 << 30}), "has 3221225472 bytes"),
        (lambda hub: hub.claims.update({"model.safetensors": None}), "has None bytes"),
        (lambda hub: hub.claims.update({"model.safetensors": 2000}), "goes on beyond its 2000"),
        (lambda hub: hub.sends.update({"model.safetensors": b"{}"}), "arrived incomplete"),
        (
            lambda hub: hub.commits[0].update({"model.safetensors": b"cos\nsystem\n"}),
            "model.safetensors of me/digits is not a checkpoint",
        ),
        (
            lambda hub: hub.commits[0].update(
                {"model.safetensors": hub.commits[0]["model.safetensors"][:-1] + b"\7"}
            ),
            "checksum differs",
        ),
    ],
)
def test_what_is_no_generator_is_not_pulled(
    change: Callable[[Hub], object], what: str, ckpt: Path, tmp_path: Path
) -> None:
    client = Hub()
    hub.push(ckpt, small(), REPO, client=client)
    change(client)
    with pytest.raises(GanctlError, match=what) as caught:
        hub.pull(REPO, tmp_path / "a", client=client)
    assert "/tmp" not in caught.value.report()
    assert not (tmp_path / "a").exists()
    if 3 << 30 in client.claims.values():
        assert client.downloaded == []


def test_files_that_exist_are_kept_unless_forced(ckpt: Path, tmp_path: Path) -> None:
    client = Hub()
    hub.push(ckpt, small(), REPO, client=client)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "README.md").write_text("a book")
    with pytest.raises(UsageError, match=r"README\.md exists"):
        hub.pull(REPO, tmp_path / "a", client=client)
    assert client.downloaded == []
    hub.pull(REPO, tmp_path / "a", force=True, client=client)
    assert "shirt" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.parametrize(
    ("error", "code", "what"),
    [
        (answered(errors.RepositoryNotFoundError, 401), 2, "there is no repository me/digits"),
        (answered(errors.RevisionNotFoundError, 404), 2, "there is no me/digits"),
        (answered(errors.HfHubHTTPError, 403), 2, r"does not let you .* \(403\)"),
        (answered(errors.HfHubHTTPError, 503), 1, "answered 503"),
        (errors.LocalTokenNotFoundError("SECRET"), 2, "hf auth login"),
        (errors.OfflineModeIsEnabled("SECRET"), 2, "HF_HUB_OFFLINE"),
        (ValueError("Illegal header b'Bearer SECRET'"), 1, "cannot reach the Hugging Face Hub: ValueError"),
        (OSError(28, "No space left on device"), 1, "No space left"),
    ],
)
def test_what_the_client_says_is_said_in_a_line_without_its_secrets(
    error: Exception, code: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Hub()

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.setattr(client, "model_info", fail)
    with pytest.raises(GanctlError) as caught:
        hub.pull(REPO, tmp_path / "a", client=client)
    assert caught.value.exit_code == code
    assert caught.match(what)
    assert "SECRET" not in caught.value.report()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("me/digits", REPO),
        ("me/digits@v1.0", hub.Repo("me/digits", "v1.0")),
        ("me/digits@refs/pr/1", hub.Repo("me/digits", "refs/pr/1")),
        ("./a b", Path("a b")),
        ("../x", Path("../x")),
        ("file:///tmp/a%20b", Path("/tmp/a b")),
        ("~/x", Path.home() / "x"),
        (".", Path()),
    ],
)
def test_repositories_and_folders_are_told_apart(text: str, found: object) -> None:
    assert hub.find(text) == found


@pytest.mark.parametrize(
    "text",
    [
        *["", "me", "me/", "a/b/c", "me/a--b", "me/a..b", "me/.a", "me/a.git", "me/a@", "me/a@x y", "-m/a"],
        *["file://host/x", "me/\x1b[2J", f"me/{'a' * 100}", "https://hub/me/a"],
    ],
)
def test_what_is_no_repository_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="is no repository"):
        hub.find(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["push", "last.ckpt", "digits"], "'digits' is no repository"),
        (["push", "nothing.ckpt", "me/digits"], "nothing.ckpt"),
        (["push", str(runs.BUNDLED), "me/digits"], "hf auth login"),
        (["push", str(runs.BUNDLED), "me/digits@v1"], "give me/digits"),
        (["push", str(runs.BUNDLED), "./a", "--license", "M I T"], "short name of a licence"),
        (["pull", "digits"], "'digits' is no repository"),
        (["pull", "./a"], "--ckpt a/model.safetensors"),
    ],
)
def test_bad_input_ends_with_2(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 2, done.stderr
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def server() -> Iterator[SimpleNamespace]:
    """Answers the Hub's own client on this machine: `files` it sends, `claims` it makes of their sizes."""
    state = SimpleNamespace(files={}, claims={}, asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            if self.path.startswith("/api/models/me/digits"):
                sizes = {name: len(content) for name, content in state.files.items()} | state.claims
                siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
                content = json.dumps({"id": "me/digits", "sha": "a" * 40, "siblings": siblings}).encode()
            else:
                content = state.files[self.path.rpartition("/")[2]]
            self.send_response(200)
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever).start()
        state.client = huggingface_hub.HfApi(f"http://127.0.0.1:{httpd.server_port}", token=False)
        yield state
        httpd.shutdown()


def test_the_real_client_pulls_what_is_announced_and_no_more(
    server: SimpleNamespace, ckpt: Path, tmp_path: Path
) -> None:
    hub.push(ckpt, small(), tmp_path / "pushed")
    server.files = {file.name: file.read_bytes() for file in (tmp_path / "pushed").iterdir()}
    path, _, revision = hub.pull(REPO, tmp_path / "a", client=server.client)
    assert revision == "a" * 40
    assert path.read_bytes() == server.files["model.safetensors"]
    assert {file.name for file in path.parent.iterdir()} == {"model.safetensors", "README.md"}
    asked = {path.rpartition("/")[2] for path in server.asked if "/resolve/" in path}
    assert asked == {"model.safetensors", "README.md"}
    server.claims = {"model.safetensors": 100}
    with pytest.raises(UsageError, match="goes on beyond its 100 bytes"):
        hub.pull(REPO, tmp_path / "b", client=server.client)
    assert not (tmp_path / "b").exists()


def test_the_real_client_takes_what_is_said_to_the_one_in_memory() -> None:
    for name in ("model_info", "create_repo", "upload_folder", "hf_hub_download"):
        ours = [p for p in inspect.signature(getattr(Hub, name)).parameters.values() if p.name != "self"]
        named = {p.name: None for p in ours if p.kind is p.KEYWORD_ONLY}
        in_place = [None for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
        inspect.signature(getattr(huggingface_hub.HfApi, name)).bind(None, *in_place, **named)


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'ganctl\[hub\]'"):
        hub_client.connect()


def test_the_commands_push_into_a_folder_and_sample_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, ["push", str(runs.BUNDLED), "./a", "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["digest"] == checkpoint.read(runs.BUNDLED).digest
    done = CliRunner().invoke(cli.app, ["sample", "--ckpt", "a/model.safetensors", "--label", "5"])
    assert done.exit_code == 0, done.stderr

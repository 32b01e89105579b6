"""One W&B run: our own step on the x-axis, never a prompt, never a wait without an end.

Lightning's `WandbLogger` ties the x-axis to `global_step`, which advances twice a batch under two optimizers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from pytorch_lightning.loggers.logger import Logger

import ganctl
from ganctl.errors import UsageError
from ganctl.logger_config import WandbConfig

log = logging.getLogger("ganctl")

Mode = Literal["online", "offline", "disabled"]

# W&B's own names for WANDB_MODE, the old ones included.
_ENV_MODES: dict[str, Mode] = {
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}

# The .wandb file is written out this often, so that a kill loses little (W&B's default is 15 s).
FLUSH_INTERVAL_S = 1.0


def resolve_mode(wanted: str, env: Mapping[str, str], has_key: Callable[[], bool]) -> Mode:
    """Settles the mode before W&B can ask: left to itself it blocks on a menu or waits 100 s.

    Args:
        wanted: `logger.wandb.mode`; anything but `auto` wins over `WANDB_MODE`.
        env: the environment.
        has_key: whether credentials exist; asked only when the answer depends on it.
    """
    asked_by = f"logger.wandb.mode={wanted}"
    if wanted == "auto":
        from_env = env.get("WANDB_MODE", "").lower()
        if not from_env:
            return "online" if has_key() else "offline"
        if from_env not in _ENV_MODES:
            raise UsageError(f"WANDB_MODE={from_env} is unknown", "use online, offline or disabled")
        wanted, asked_by = _ENV_MODES[from_env], f"WANDB_MODE={from_env}"
    mode = _ENV_MODES[wanted]
    if mode == "online" and not has_key():
        raise UsageError(
            f"{asked_by} needs a W&B key, and there is none",
            "run `wandb login`, set WANDB_API_KEY, or use logger.wandb.mode=offline",
        )
    return mode


def has_key() -> bool:
    """Whether W&B would find credentials: the environment, netrc, or its own settings."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    wandb = _import_wandb()
    from wandb.sdk.lib import wbauth

    settings = wandb.setup().settings
    try:
        return bool(settings.api_key or wbauth.read_netrc_auth(host=settings.base_url))
    except wandb.Error as error:
        log.warning("the W&B key is not usable: %s", error)
        return False


def _import_wandb() -> Any:
    # W&B reports on itself to its server, offline runs too: behind a network that drops packets the
    # process then takes 10 s longer to exit. Who wants the reports sets the variable.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if not os.environ.get("WANDB_MODE", "unset"):
        del os.environ["WANDB_MODE"]  # set to nothing means unset here, and is an error there
    import wandb

    return wandb


class WandbRun(Logger):
    """A W&B run in `<run_dir>/wandb`, online or offline.

    Args:
        options: the `logger.wandb` part of the config.
        mode: as settled by `resolve_mode`. An online run whose server does not answer goes on offline.
        run_dir: the run folder.
        run_name: the run's name where `options` has none.
        run_id: continues that run; None starts a new one.
    """

    def __init__(
        self,
        options: WandbConfig,
        mode: Literal["online", "offline"],
        run_dir: Path,
        run_name: str,
        run_id: str | None = None,
    ) -> None:
        super().__init__()
        wandb = _import_wandb()
        self.id: str = run_id or secrets.token_hex(4)
        self._options = options
        self._dir = run_dir
        self._name = options.name or run_name
        self._finished = False
        if mode == "online":
            try:
                self._run = self._start("online")
            except (wandb.Error, OSError) as error:
                # The service holds on to the id of the failed start until it is shut down.
                with contextlib.suppress(Exception):
                    wandb.teardown()
                mode = "offline"
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning("W&B is out of reach (%s): logging offline to %s", reason, run_dir / "wandb")
        if mode == "offline":
            self._run = self._start("offline")
        self.mode = mode
        if mode == "online":
            log.info("W&B: %s", self._run.url)
        else:
            log.info("W&B is offline; to upload: wandb sync %s", Path(self._run.dir).parent)
        if options.log_code:
            self._run.log_code(root=str(Path(ganctl.__file__).parent))

    def _start(self, mode: Literal["online", "offline"]) -> Any:
        wandb = _import_wandb()
        options = self._options
        return wandb.init(
            project=options.project,
            entity=options.entity,
            name=self._name,
            id=self.id,
            dir=str(self._dir),
            group=options.group,
            tags=options.tags,
            mode=mode,
            resume="allow" if mode == "online" else None,
            # Independent of a run that the calling program may have open.
            reinit="create_new",
            settings=wandb.Settings(
                quiet=True,
                silent=True,
                console="off",
                disable_code=not options.log_code,
                init_timeout=options.init_timeout_s,
                finish_timeout=options.finish_timeout_s,
                x_transaction_log_flush_interval=FLUSH_INTERVAL_S,
            ),
        )

    @property
    def name(self) -> str:
        """The run's name."""
        return self._name

    @property
    def version(self) -> str:
        """The run's id."""
        return self.id

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """One row. W&B merges rows and pictures of one step, and drops what is older than the newest step."""
        self._run.log(dict(metrics), step=step)

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:  # type: ignore[override]
        """Stores a plain dict as the run's config; a continued run takes the new values."""
        self._run.config.update(dict(params), allow_val_change=True)

    def log_image(self, key: str, image: Image.Image, caption: str, step: int) -> None:
        """One captioned picture."""
        wandb = _import_wandb()
        self._run.log({key: wandb.Image(image, caption=caption)}, step=step)

    def log_artifact(self, path: Path, name: str, type: str) -> None:
        """Stores a file as an artifact; offline W&B keeps a copy in its data folder for `wandb sync`."""
        artifact = _import_wandb().Artifact(name, type=type)
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def log_checkpoint(self, path: Path) -> None:
        """Stores a checkpoint as the artifact `checkpoint-<id>`, when the config asks for it."""
        if self._options.log_checkpoints:
            self.log_artifact(path, f"checkpoint-{self.id}", "model")

    def watch(self, model: torch.nn.Module) -> None:
        """Logs gradient histograms, when the config asks for it."""
        if self._options.watch:
            self._run.watch(model, log="gradients")

    def finish(self, exit_code: int) -> None:
        """Uploads for at most `finish_timeout_s`, and marks the run finished or failed.

        W&B's process may write the end of the offline file a moment later; the program's exit waits for it.
        """
        if not self._finished:
            self._finished = True
            self._run.finish(exit_code=exit_code)

    def finalize(self, status: str) -> None:
        """Lightning's name for `finish`."""
        self.finish(0 if status in ("success", "finished") else 1)

    def abandon(self) -> None:
        """Lets go of a run that failed. Otherwise W&B's exit hook would print a traceback at the very end."""
        try:
            self.finish(1)
        except Exception:
            with contextlib.suppress(Exception):
                _import_wandb().teardown()

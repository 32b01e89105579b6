"""The Hugging Face Hub's own client: what is used of it, and its errors in a line of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from ganctl.errors import GanctlError, UsageError

log = logging.getLogger("ganctl")


class Client(Protocol):
    """What is used of `huggingface_hub.HfApi`."""

    def model_info(
        self, repo_id: str, *, revision: str | None = None, files_metadata: bool = False
    ) -> Any: ...
    def create_repo(self, repo_id: str, *, private: bool | None = None) -> Any: ...
    def upload_folder(
        self, *, repo_id: str, folder_path: Path, commit_message: str, delete_patterns: list[str]
    ) -> Any: ...
    def hf_hub_download(
        self, repo_id: str, filename: str, *, revision: str, local_dir: Path, tqdm_class: type[tqdm]
    ) -> str: ...


def connect(*, to_write: bool = False) -> Client:
    """The client, with the login of `hf auth login` or `HF_TOKEN`, which is nobody's business but its own.

    Raises:
        UsageError: it is not installed; or nobody is logged in, which writing takes.
    """
    try:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars
        from huggingface_hub.utils import logging as its_logging
    except ImportError:
        raise UsageError(
            "the Hugging Face Hub needs the package huggingface_hub", "pip install 'ganctl[hub]'"
        ) from None
    its_logging.set_verbosity_error()
    if not log.isEnabledFor(logging.INFO):
        disable_progress_bars()
    with explained("the Hub"):
        if to_write and huggingface_hub.get_token() is None:
            raise UsageError("nobody is logged in to the Hugging Face Hub", "hf auth login, or set HF_TOKEN")
    client: Client = huggingface_hub.HfApi(library_name="ganctl")
    return client


@contextmanager
def explained(name: str) -> Iterator[None]:
    """The client's errors in a line of ours: theirs are long, and quote addresses."""
    from huggingface_hub import errors

    try:
        yield
    except GanctlError:
        raise
    except errors.LocalTokenNotFoundError as error:
        raise UsageError(
            "nobody is logged in to the Hugging Face Hub", "hf auth login, or set HF_TOKEN"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise UsageError("HF_HUB_OFFLINE forbids the network", "unset it") from error
    except errors.RevisionNotFoundError as error:
        raise UsageError(
            f"there is no {name}", "look at the branches, tags and commits on the Hub"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UsageError(
            f"there is no repository {name} that you may see",
            "check the name; hf auth login for a private one",
        ) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise UsageError(
                f"the Hub does not let you do this to {name} ({status})",
                "hf auth login with a token that may write there",
            ) from error
        raise GanctlError(f"the Hub answered {status} for {name}", "try again later") from error
    except Exception as error:  # of its HTTP library, whose words can quote the token; or of the disk
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise GanctlError(
            f"cannot reach the Hugging Face Hub: {reason}", "check the network and try again"
        ) from error

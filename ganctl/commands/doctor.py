"""`doctor`."""

from __future__ import annotations

import dataclasses

import typer

from ganctl.terminal import result, verb


@verb("ganctl doctor", "ganctl doctor --json")
def doctor() -> None:
    """Look at this machine: packages, devices, data, weights, W&B, folders.

    Says what is missing and how to get it. Fetches nothing and asks no server. Exit code 1 where a bare
    `ganctl train` could not work.
    """
    from ganctl import doctor

    found = doctor.examine()
    ready = all(f.level != "problem" for f in found)
    result(doctor.table(found), {"ready": ready, "findings": [dataclasses.asdict(f) for f in found]})
    if not ready:
        raise typer.Exit(1)

"""Which packages ganctl asks for, and whether they are here."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement


def asked() -> list[Requirement]:
    """What `pyproject.toml` asks for, extras too; nothing where ganctl is not installed."""
    try:
        return [Requirement(text) for text in metadata.requires("ganctl") or ()]
    except metadata.PackageNotFoundError:
        return []


def of(extra: str) -> list[Requirement]:
    """What an extra asks for; with "" what ganctl itself does."""
    return [
        r
        for r in asked()
        if (r.marker is None or r.marker.evaluate({"extra": extra}))
        and (not extra or (r.marker is not None and not r.marker.evaluate({"extra": ""})))
    ]


def missing(requirement: Requirement) -> str | None:
    """How a requirement is not met."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} is {version}, not {requirement.specifier}"

"""ganctl: train, sample and honestly evaluate class-conditional GANs."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganctl.generator import load

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`ganctl.load`, whose imports take seconds, when it is asked for."""
    if name == "load":
        from ganctl.generator import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

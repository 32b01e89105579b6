"""ganctl: train, sample and honestly evaluate class-conditional GANs."""

__version__ = "0.1.0"

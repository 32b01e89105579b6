"""Builds ganctl/assets/digits.npz from scikit-learn's copy of the UCI digits. Needs the `dev` extra.

python scripts/build_digits.py
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).resolve().parent.parent / "ganctl" / "assets" / "digits.npz"
NUM_TEST = 297


def main() -> None:
    digits = load_digits()
    # 0..16 counts of inked pixels in a 4x4 block -> the whole range of a grey level
    images = np.rint(digits.images * 255 / 16).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[:-NUM_TEST], order[-NUM_TEST:]
    np.savez_compressed(
        TARGET,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )
    print(
        f"{TARGET}: {TARGET.stat().st_size} bytes, sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}"
    )


if __name__ == "__main__":
    main()

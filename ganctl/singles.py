"""Any number of images as single PNGs, in constant memory; what is there already stays."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ganctl import collectives, generate, images, pngs, progress
from ganctl.errors import UsageError
from ganctl.generator import Generator
from ganctl.sample import Layout, Product, provenance

log = logging.getLogger("ganctl")

SINGLE = Layout()


def file_names(label_names: Sequence[str]) -> list[str]:
    """How the file names of a label's images begin; one of nothing where there are no labels."""
    names = [f"{images.file_name(name)}_" for name in label_names] or [""]
    if len({name.casefold() for name in names}) < len(names):  # `a b` and `a_b` are one file name
        names = [f"{y}_" for y in range(len(names))]
    return names


def write(
    generator: Generator, asked: Product, outdir: Path, *, batch_size: int = 1024, force: bool = False
) -> None:
    """One PNG an image of this rank's share: `<label name>_seed<seed>.png`, or `seed<seed>.png` where there
    are no labels. A file that is there and says that it is the same image is kept; a damaged one is drawn
    anew.

    Args:
        force: draw all of them, over whatever is there.

    Raises:
        UsageError: a file that is there is another image; nothing can be written.
    """
    part = collectives.share(len(asked), generate.MICRO_BATCH)
    names = file_names(generator.label_names)
    common = provenance(generator, Product([0], [0], asked.truncation), SINGLE)
    try:
        with progress.bar(len(part), "img") as bar:
            for start in range(0, len(part), batch_size):
                missing: list[tuple[Path, dict[str, str], int]] = []
                for i in part[start : start + batch_size]:
                    label, seed = asked[i]
                    said = {"ganctl:label": str(label)} if generator.num_classes else {}
                    text = common | said | {"ganctl:seed": str(seed)}
                    target = outdir / f"{names[label]}seed{seed:06d}.png"
                    if force or not _is_there(target, text):
                        missing.append((target, text, i))
                drawn = generator.draw([asked[i] for _, _, i in missing], truncation=asked.truncation)
                for (target, text, _), image in zip(missing, drawn, strict=True):
                    images.save_png(images.to_pil(image), target, text, sync=False)
                bar.update(min(batch_size, len(part) - start))
    except KeyboardInterrupt:
        log.warning("interrupted: the same command goes on with what is not yet in %s", outdir)
        raise
    finally:
        os.sync()  # once, instead of for each file


def _is_there(target: Path, text: dict[str, str]) -> bool:
    """Whether a file is the picture that it would be.

    Raises:
        UsageError: it is another one.
    """
    if not os.path.lexists(target):
        return False
    content = pngs.read(target)
    try:
        found = pngs.texts(target, content)
    except UsageError:
        return False
    if found != text:
        key = next((k for k in text if found.get(k) != text[k]), "ganctl:")
        raise UsageError(
            f"{target} is another picture: its {key.removeprefix('ganctl:')} differs",
            "choose another --outdir, or draw over what is there with --force",
        )
    return True

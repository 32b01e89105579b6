"""Frames -> a GIF or an MP4."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from ganctl import atomic, images
from ganctl.errors import GanctlError, UsageError
from ganctl.pngs import Shape

MAX_BYTES = 512 << 20  # of the pixels of a film


def write(
    frames: Tensor,
    path: Path,
    kind: str,
    *,
    fps: int,
    scale: int = 1,
    loop: bool = False,
    texts: Mapping[str, str] | None = None,
) -> None:
    """Writes a film, whole or not at all.

    A GIF holds grey images exactly, and 256 colours of RGB ones, and repeats without end. An MP4 (H.264) is
    lossy.

    Args:
        frames: (N, C, H, W) uint8, N ≥ 2.
        kind: `.gif` or `.mp4`.
        fps: frames a second; a GIF counts in hundredths of a second.
        scale: whole factor by which pixels are enlarged.
        loop: the frames forwards, then backwards.
        texts: where it comes from; in the comment of a GIF.

    Raises:
        UsageError: the file cannot be written, or there is no imageio-ffmpeg for an MP4.
    """
    order = list(range(len(frames))) + (list(range(len(frames) - 2, 0, -1)) if loop else [])
    pictures = [images.enlarged(images.to_pil(frames[i]), scale) for i in order]
    if kind == ".mp4":
        _write_mp4(pictures, path, fps)
        return
    first, *rest = pictures
    comment = "\n".join(f"{key}: {text}" for key, text in (texts or {}).items()).encode()
    options: dict[str, Any] = {"save_all": True, "append_images": rest, "loop": 0, "comment": comment}
    duration = max(2, round(100 / fps)) * 10  # ms; browsers show what is shorter slowly
    atomic.write_output(path, lambda file: first.save(file, format="GIF", duration=duration, **options))


def require_possible(kind: str, strip: Shape, side: int) -> None:
    """Finds out before the frames are drawn whether `write` can write them.

    Args:
        strip: of all frames side by side.
        side: height and width of a frame as it is shown.

    Raises:
        UsageError: imageio-ffmpeg is not there, H.264 does not take images of that size, or the film is too
            large: it is held in memory.
    """
    size = strip.channels * strip.height * strip.width
    if size > MAX_BYTES:
        raise UsageError(
            f"the frames of this film take {size / 2**20:.0f} MiB",
            f"give fewer --frames, or a smaller --scale: {MAX_BYTES >> 20} MiB at most",
        )
    if kind != ".mp4":
        return
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "MP4 needs imageio-ffmpeg", "pip install 'ganctl[video]', or write a .gif"
        ) from error
    if side % 2:
        raise UsageError(
            f"an MP4 cannot be {side} pixels wide, an odd number", "add --scale 2, or write a .gif"
        )


def _write_mp4(pictures: list[Any], path: Path, fps: int) -> None:
    import imageio_ffmpeg

    def content(file: IO[bytes]) -> None:
        writer = imageio_ffmpeg.write_frames(
            os.path.abspath(file.name),
            pictures[0].size,
            fps=fps,
            quality=9,
            macro_block_size=2,
            ffmpeg_log_level="error",
            output_params=["-f", "mp4"],  # the temporary file has a suffix of its own
        )
        writer.send(None)
        for picture in pictures:
            writer.send(np.ascontiguousarray(picture.convert("RGB")).tobytes())
        writer.close()
        if not os.path.getsize(file.name):
            raise GanctlError(f"ffmpeg wrote nothing for {path}", "write a .gif")

    atomic.write_output(path, content)

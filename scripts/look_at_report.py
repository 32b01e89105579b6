"""Screenshots of a page of `ganctl report`: light and dark, on a desk and on a phone.

python scripts/look_at_report.py report.html --outdir pictures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import chromium

LOOKS = {"desk_light": (1280, 900, False, False), "desk_dark": (1280, 900, True, False)}
LOOKS |= {"phone_light": (390, 844, False, True), "phone_dark": (390, 844, True, True)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("page", type=Path, help="an HTML file")
    parser.add_argument("--outdir", type=Path, default=Path("pictures"))
    parser.add_argument("--part", action="store_true", help="what is in the window, not the whole page")
    parser.add_argument("--at", default="", help="the section to begin at, as in #training; with --part")
    args = parser.parse_args()
    args.outdir.mkdir(parents=True, exist_ok=True)
    with chromium.page() as page:
        for name, (width, height, dark, phone) in LOOKS.items():
            page.look(width, height, dark, phone)
            page.open(args.page.resolve().as_uri() + args.at)
            if args.at:
                page.ask("new Promise(done => setTimeout(done, 800))")  # it glides there
            page.screenshot(args.outdir / f"{args.page.stem}_{name}.png", whole=not args.part)
            wider = page.ask("document.documentElement.scrollWidth - innerWidth")
            print(f"{name}: {wider} pixels too wide; console: {page.complaints() or 'silent'}")


if __name__ == "__main__":
    main()

"""Job: draw the page of a study. `python jobs/report.py RUN [--out FOLDER]`."""

import sys
from pathlib import Path

try:
    from orthoray.cli import main
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))
    from orthoray.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])

"""Job: make a synthetic cohort as DICOM. `python jobs/phantom.py CONFIG --out DIR`."""

import sys
from pathlib import Path

try:
    from orthoray.cli import main
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))
    from orthoray.cli import main

if __name__ == "__main__":
    main(["phantom", *sys.argv[1:]])

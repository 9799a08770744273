"""Job: turn DICOM or images into a dataset. `python jobs/ingest.py CARD --source URI --out URI`."""

import sys
from pathlib import Path

try:
    from orthoray.cli import main
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))
    from orthoray.cli import main

if __name__ == "__main__":
    main(["ingest", *sys.argv[1:]])

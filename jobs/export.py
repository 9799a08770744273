"""Job: copy a checkpoint for another library. `python jobs/export.py CHECKPOINT --format F --out OUT`."""

import sys
from pathlib import Path

try:
    from orthoray.cli import main
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))
    from orthoray.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])

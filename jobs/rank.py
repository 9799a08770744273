"""Job: rank backbones by transferability. `python jobs/rank.py CONFIG [key=value]...`."""

import sys
from pathlib import Path

try:
    from orthoray.cli import main
except ModuleNotFoundError:
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))
    from orthoray.cli import main

if __name__ == "__main__":
    main(["rank", *sys.argv[1:]])

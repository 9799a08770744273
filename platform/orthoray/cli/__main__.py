"""`python -m orthoray.cli`."""

from orthoray.cli import main

if __name__ == "__main__":
    main()

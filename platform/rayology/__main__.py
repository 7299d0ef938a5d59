"""Run a command as ``python -m rayology``, where the package is on the path and not installed."""

from rayology.commands import main

if __name__ == "__main__":
    main()

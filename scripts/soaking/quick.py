"""The program, `python -m segfw`, but for a fingerprint that draws fewer voxels: the published number takes seconds."""

import sys

from segfw import __main__ as program
from segfw.core.planning import fingerprint


def main() -> int:
    """Run the program with the words of the command line."""
    fingerprint.TOTAL_SAMPLES = 100_000
    return program.main()


if __name__ == "__main__":
    sys.exit(main())

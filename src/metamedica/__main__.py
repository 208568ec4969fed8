"""`python -m metamedica VERB ...`, for launchers that start modules: `torchrun -m metamedica fit ...`."""

import sys

from metamedica.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m optix_core``: the same command line as ``optix``."""

from __future__ import annotations

import sys

from optix_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m optix_distributed._actor``: how actors are started; not for use by hand."""

from __future__ import annotations

import sys

from optix_distributed.local.actor import main

if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    raise SystemExit(code)

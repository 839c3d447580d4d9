"""``python -m ecli_py``."""

import sys

from ecli_py.cli import main

sys.exit(main())

"""HTTP service and signer in one process: ``python3 -m inkwell``."""

import sys

from inkwell.api import answer
from inkwell.main import run
from inkwell.worker import work

sys.exit(run("inkwell", answer, work))

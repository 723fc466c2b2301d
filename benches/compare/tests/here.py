"""Makes the modules of benches/compare importable, wherever the tests are started from."""

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1]
sys.path.insert(0, str(FOLDER))

"""Where the modules under test are found."""

import sys
from pathlib import Path

SCALE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(SCALE), str(SCALE.parent / "compare")]

"""Makes the programs in scripts/ importable, as they are for each other, and as a package."""

import sys

from programs import ROOT

sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

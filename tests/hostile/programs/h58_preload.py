"""Files beside the program that a loader or an interpreter might take up by itself; and their effect: none."""

import os
import sys

print("held" if "hijacked" not in os.environ and not hasattr(sys, "hijacked") else "hijacked")

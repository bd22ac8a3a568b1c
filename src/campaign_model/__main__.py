"""Run the command as ``python -m campaign_model``."""

import sys

from campaign_model.cli import main

if __name__ == "__main__":
    sys.exit(main())

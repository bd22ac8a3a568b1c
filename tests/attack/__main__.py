import sys

from attack.session import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m nf_isac_ros.figures NAME... --out DIR`."""

import sys

from nf_isac_ros.figures.command import main

if __name__ == '__main__':
    sys.exit(main())

"""`python -m demo`, which is `make run`."""

import sys

from demo.supervisor import main

sys.exit(main())

"""`python -m cc.supervisor`: the daemon in the foreground. control.py starts it detached."""

from __future__ import annotations

import os
import sys

from cc.errors import CcError
from cc.supervisor.daemon import Daemon
from cc.supervisor.listener import AlreadyServed


def main() -> int:
    """Serve until asked to end."""
    try:
        return Daemon(os.environ, os.getcwd()).serve()
    except AlreadyServed as served:
        sys.stderr.write(f"{served.message}\n")
        return 0
    except CcError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

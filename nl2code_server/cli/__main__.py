"""`python -m nl2code_server.cli`: the command line, for a process that knows its interpreter and not its script."""

from .app import main

if __name__ == "__main__":
    main()

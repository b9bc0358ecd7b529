"""One LSP feature per file: read the parameters, ask the session, convert the result."""

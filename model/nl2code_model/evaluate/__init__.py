"""The evaluation: instructions in files, the language server asked for code, hidden tests run on what it offers."""

"""What became of each suggestion, kept on the user's own disk. Knows no LSP."""

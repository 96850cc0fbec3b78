"""One verb a file: what `imclass <command>` does."""

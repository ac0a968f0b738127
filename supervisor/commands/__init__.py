"""Commands of the command line, a file each: `add` gives them to the typer app."""

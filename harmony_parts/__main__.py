"""`python -m harmony_parts` runs the command line, as `harmony` does."""

from harmony_parts.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m harmony_parts`: the same as `harmony`."""

from harmony_parts.cli.main import main

if __name__ == "__main__":
    main()

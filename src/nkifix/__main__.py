"""``python -m nkifix``: the same as the ``nkifix`` command."""

from nkifix.cli import main

if __name__ == "__main__":
    main()

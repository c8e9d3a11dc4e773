"""`python -m bouncekit`."""

from bouncekit.cli import main

if __name__ == "__main__":
    main()

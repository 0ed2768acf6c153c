"""`python -m rap_keras` is the command `rap-keras`."""

from rap_keras.cli import main

if __name__ == "__main__":
    main()

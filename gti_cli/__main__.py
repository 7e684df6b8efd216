"""Let ``python -m gti_cli`` run the command line, for launchers such as ``torchrun -m gti_cli ground``."""

from gti_cli.app import main

if __name__ == "__main__":
    main()

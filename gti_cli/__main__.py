"""`python -m gti_cli`, for torchrun: ``torchrun --nproc-per-node 8 -m gti_cli ground``."""

from gti_cli.app import main

if __name__ == "__main__":
    main()

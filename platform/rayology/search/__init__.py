"""Search: marks on the config's fields become a space in ``space.py``, Ray Tune walks it in ``study.py``."""

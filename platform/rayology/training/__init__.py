"""Training: the recipe in ``loop.py``, what surrounds it, and Ray Train in ``cluster.py`` alone."""

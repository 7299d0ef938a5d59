"""Search: ``marks`` become a ``space``, a ``planner`` walks it and a ``journal`` remembers, Ray Tune runs it (``study``)."""

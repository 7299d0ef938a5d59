"""Search: ``marks`` become a ``space``, a ``planner`` walks it with a ``journal``, Ray Tune runs it (``study``)."""

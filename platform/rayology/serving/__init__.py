"""A bundle behind HTTP; import ``app`` for the Serve application, the other modules know no Ray."""

__all__: list[str] = []

"""A bundle behind HTTP; import ``app`` for the Serve application, the other modules do not import Ray."""

__all__: list[str] = []

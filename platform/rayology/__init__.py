"""Search, train and serve generative models of medical images on Ray."""

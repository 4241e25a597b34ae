"""AWS on this machine, for development, demo and tests: Lambda by our own service, the rest by engines that others wrote."""

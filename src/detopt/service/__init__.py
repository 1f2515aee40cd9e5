"""Tasks over HTTPS, for workers that reach no store: the service, and its client."""

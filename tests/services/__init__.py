"""Stand-ins, on this machine, for the services that Metaflow uses in production."""

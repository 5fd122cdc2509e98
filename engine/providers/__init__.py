"""Provider adapters: what the plugins do for the CLI, in process. `registry` knows which packages there are."""

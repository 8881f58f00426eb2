"""The commands: `edflow`, `edexplore`, `invariances`."""

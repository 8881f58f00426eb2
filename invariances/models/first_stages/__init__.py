"""First stages beside `invariances.models.Autoencoder`: large autoencoders, and those of other libraries."""

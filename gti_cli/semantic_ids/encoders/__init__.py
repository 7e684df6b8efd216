"""Encoders: item texts to embeddings, by LSA, by a text model, or from a column of the table."""

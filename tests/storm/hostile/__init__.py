"""S5: data made to hurt: names, documents and texts, and what every encoder, reader and pattern makes of them."""

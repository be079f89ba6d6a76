"""S1: what no signature, a wrong one or a misused one carries to the gateway's door, and what the books say then."""

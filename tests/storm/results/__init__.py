"""R16: what banks answer, twice, backwards, cut anywhere, falsified and rewritten, up to the real books."""

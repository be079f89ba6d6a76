"""R5: kill -9 at random moments, crossed with everything else that goes wrong around a gateway (`make storm`)."""

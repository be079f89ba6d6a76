"""The rooms of the simulated SMS centre: HTTP batch, CMPP and SMPP over one ledger and one programme of faults."""

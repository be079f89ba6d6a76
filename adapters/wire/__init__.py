"""Transports that know the point of no return, one module for each way of talking to a bank."""

"""The world around the gateway: database, broker, banks, SMS centre, finance desk, and an independent checker."""

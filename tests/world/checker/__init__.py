"""The independent checker: from the signed inputs, the banks' ledgers and the receipts alone, never from our database.

It is the third program of every proof. It shares no code with the gateway, its adapters or its schemas, nor with the
simulated banks: what all of them misunderstand alike, it should not.
"""

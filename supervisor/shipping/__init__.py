"""Where evidence is shipped to and how: `target` from its text, the ways (`folder`, `put`, `bucket`), and the `ledger`.

`shipper` decides when a batch goes, the worker `actions/ship` sends it. What is away is noted file by file, so that the
worker may be killed at any moment.
"""

"""What runs say: tables, ledger, and the viewer."""
